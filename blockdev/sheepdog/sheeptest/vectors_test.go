package sheeptest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// run is a stretch of bytes that are not zero.
type run struct {
	Offset int    `json:"offset"`
	Hex    string `json:"hex"`
	Fill   string `json:"fill"`
	Length int    `json:"length"`
}

type step struct {
	Name            string `json:"name"`
	Request         string `json:"request_hex"`
	Response        string `json:"response_hex"`
	RequestLen      int    `json:"request_payload_len"`
	ResponseLen     int    `json:"response_payload_len"`
	RequestNonzero  []run  `json:"request_payload_nonzero"`
	ResponseNonzero []run  `json:"response_payload_nonzero"`
}

// payload rebuilds what follows a header.
func payload(t *testing.T, text string, length int, runs []run) []byte {
	t.Helper()
	out := make([]byte, length)
	if len(runs) == 0 {
		copy(out, unhex(t, text)[p.HeaderSize:])
	}
	for _, r := range runs {
		if r.Fill != "" {
			copy(out[r.Offset:], bytes.Repeat(unhex(t, r.Fill), r.Length))
		} else {
			copy(out[r.Offset:], unhex(t, r.Hex))
		}
	}
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVectors plays what was sent to live clusters, and wants the answers that came.
func TestVectors(t *testing.T) {
	for _, session := range []struct {
		files  []string // one cluster, one file after the other
		config Config
	}{
		{[]string{"00-unformatted"}, Config{Unformatted: true}},
		{[]string{"01-create-open", "02-io", "03-snapshot", "04-clone", "05-goto-delete", "06-errors", "07-vmstate"}, Config{Locking: true}},
		{[]string{"09-index-rewrite-hazard"}, Config{Copies: 3}},
		{[]string{"10-node-loss"}, Config{Copies: 3}},
	} {
		c := New(session.config)
		for _, f := range session.files {
			for _, s := range read(t, f) {
				if s.Name == "write_right_after_other_node_killed" {
					c.NodeLost()
				}
				t.Run(f+"/"+s.Name, func(t *testing.T) { play(t, c, s) })
			}
		}
	}
}

func read(t *testing.T, name string) []step {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../testdata/sheepdog", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var capture struct{ Steps []step }
	if err := json.Unmarshal(text, &capture); err != nil {
		t.Fatal(err)
	}
	return capture.Steps
}

func play(t *testing.T, c *Cluster, s step) {
	r := p.DecodeRequest(unhex(t, s.Request))
	resp, out := c.handle(r, payload(t, s.Request, s.RequestLen, s.RequestNonzero))
	if resp == nil {
		t.Fatal("the daemon died")
	}
	want := p.DecodeResponse(unhex(t, s.Response))
	if want.Result != p.Success && r.Opcode == p.OpNewVDI {
		resp.VID, want.VID = 0, 0 // garbage
	}
	if *resp != want {
		t.Errorf("got  %+v\nwant %+v", *resp, want)
	}
	wantOut := payload(t, s.Response, s.ResponseLen, s.ResponseNonzero)
	if r.OID.IsInode() && r.Offset == 0 && len(out) >= p.OffsetVMClock && len(wantOut) == len(out) {
		for at := p.OffsetCreateTime; at < p.OffsetVMClock; at += 8 { // times differ, except from none
			a, b := out[at:at+8], wantOut[at:at+8]
			if bytes.Equal(a, make([]byte, 8)) == bytes.Equal(b, make([]byte, 8)) {
				copy(a, b)
			}
		}
	}
	if !bytes.Equal(out, wantOut) {
		for i := range min(len(out), len(wantOut)) {
			if out[i] != wantOut[i] {
				t.Fatalf("%d bytes, want %d; they differ at %d: % x, want % x", len(out), len(wantOut), i,
					out[i:min(i+32, len(out))], wantOut[i:min(i+32, len(wantOut))])
			}
		}
		t.Fatalf("%d bytes, want %d", len(out), len(wantOut))
	}
}

// TestPipelining plays the captured burst: every request has the answer that came.
func TestPipelining(t *testing.T) {
	text, err := os.ReadFile("../../../testdata/sheepdog/08-pipelining.json")
	if err != nil {
		t.Fatal(err)
	}
	var burst struct {
		Requests []struct {
			Request string `json:"request_hex"`
			Len     int    `json:"request_payload_len"`
		}
		Answers []struct {
			ID       uint32 `json:"id"`
			Response string `json:"response_hex"`
			Len      int    `json:"response_payload_len"`
		} `json:"responses_in_arrival_order"`
	}
	if err := json.Unmarshal(text, &burst); err != nil {
		t.Fatal(err)
	}
	c := New(Config{})
	vid := p.DecodeRequest(unhex(t, burst.Requests[0].Request)).OID.VID()
	c.objects[p.InodeID(vid)] = newInode()
	c.objects[p.InodeID(vid)].setHeader(p.Inode{Name: "burst", VID: vid, Shift: p.DefaultShift})
	want := map[uint32]p.Response{}
	for _, a := range burst.Answers {
		want[a.ID] = p.DecodeResponse(unhex(t, a.Response))
	}
	for _, q := range burst.Requests {
		r := p.DecodeRequest(unhex(t, q.Request))
		resp, out := c.handle(r, make([]byte, q.Len))
		if *resp != want[r.ID] || uint32(len(out)) != resp.DataLength {
			t.Errorf("%+v, want %+v", resp, want[r.ID])
		}
		delete(want, r.ID)
	}
	if len(want) > 0 {
		t.Errorf("no answer to %d", len(want))
	}
}
