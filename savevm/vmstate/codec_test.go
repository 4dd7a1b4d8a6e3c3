package vmstate

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type inner struct {
	Value   uint64 `vmstate:"value"`
	Started bool   `vmstate:"started"`
}

type sub struct {
	A []uint16 `vmstate:"a"`
}

type mode uint8

type opaque struct{ items []byte }

func (o *opaque) MarshalVMState(e *Encoder) error {
	e.Uint32(uint32(len(o.items)))
	e.Bytes(o.items)
	return nil
}

func (o *opaque) UnmarshalVMState(d *Decoder) error {
	o.items = make([]byte, min(d.Uint32(), 16))
	d.Fill(o.items)
	return d.Err()
}

type everything struct {
	U8      uint8      `vmstate:"u8"`
	I16     int16      `vmstate:"i16"`
	Wide    bool       `vmstate:"wide,uint32"`
	Narrow  uint64     `vmstate:"narrow,uint16"`
	Minus   int        `vmstate:"minus,int32"`
	Mode    mode       `vmstate:"mode,uint64"`
	_       struct{}   `vmstate:"unused,unused=3"`
	Text    [4]byte    `vmstate:"text,buffer"`
	Prio    [2]uint8   `vmstate:"prio"`
	Words   []uint32   `vmstate:"words"`
	Grid    [2][2]int8 `vmstate:"grid"`
	Inner   inner      `vmstate:"inner,struct=dev/inner,version=2"`
	Many    [2]inner   `vmstate:"many"`
	Own     opaque     `vmstate:"own,type=virtio"`
	Late    uint8      `vmstate:"late,since=7"`
	Sub     *sub       `vmstate:"dev/sub,subsection=4"`
	Absent  *sub       `vmstate:"dev/absent,subsection=1"`
	Private int        `vmstate:"-"`
}

func sample() *everything {
	return &everything{
		U8: 1, I16: -2, Wide: true, Narrow: 0x1234, Minus: -3, Mode: 9,
		Text: [4]byte{'a', 'b'}, Prio: [2]uint8{5, 6}, Words: []uint32{7, 8},
		Grid: [2][2]int8{{1, 2}, {3, -4}}, Inner: inner{10, true},
		Many: [2]inner{{11, false}, {12, true}}, Own: opaque{[]byte{0xaa}},
		Sub: &sub{A: []uint16{0x0102}},
	}
}

func blank() *everything {
	return &everything{Words: make([]uint32, 2), Sub: &sub{A: make([]uint16, 1)}, Absent: &sub{}}
}

const sampleBytes = "01 fffe 00000001 1234 fffffffd 0000000000000009 000000 61620000 0506" +
	"00000007 00000008 01 02 03 fc 000000000000000a 01" +
	"000000000000000b 00 000000000000000c 01 00000001 aa" +
	"05 07 6465762f737562 00000004 0102"

func TestStructLayout(t *testing.T) {
	got, err := Marshal("dev", 6, sample())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := hex.DecodeString(strings.ReplaceAll(sampleBytes, " ", ""))
	if diff := cmp.Diff(hex.EncodeToString(want), hex.EncodeToString(got)); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
	back := blank()
	if err := Unmarshal(got, "dev", 6, back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, sample()) {
		t.Errorf("decoded %+v", back)
	}
}

func TestDescriptionOfStruct(t *testing.T) {
	d, err := Describe("dev", 6, sample())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := Marshal("dev", 6, sample())
	if d.length() != int64(len(body)) {
		t.Errorf("describes %d bytes of %d", d.length(), len(body))
	}
	got, _ := json.Marshal(d)
	inner := `"fields":[{"name":"value","type":"uint64","size":8},{"name":"started","type":"bool","size":1}]`
	want := `{"vmsd_name":"dev","version":6,"fields":[` +
		`{"name":"u8","type":"uint8","size":1},{"name":"i16","type":"int16","size":2},` +
		`{"name":"wide","type":"uint32","size":4},{"name":"narrow","type":"uint16","size":2},` +
		`{"name":"minus","type":"int32","size":4},{"name":"mode","type":"uint64","size":8},` +
		`{"name":"unused","type":"unused_buffer","size":3},{"name":"text","type":"buffer","size":4},` +
		`{"name":"prio","array_len":2,"type":"uint8","size":1},` +
		`{"name":"words","array_len":2,"type":"uint32","size":4},` +
		`{"name":"grid","array_len":4,"type":"int8","size":1},` +
		`{"name":"inner","type":"struct","struct":{"vmsd_name":"dev/inner","version":2,` + inner + `},"size":9},` +
		`{"name":"many","array_len":2,"type":"struct","struct":{"vmsd_name":"many","version":1,` + inner + `},"size":9},` +
		`{"name":"own","type":"virtio","size":5}],` +
		`"subsections":[{"vmsd_name":"dev/sub","version":4,"fields":[{"name":"a","array_len":1,"type":"uint16","size":2}]}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
}

// Elements that look different are described one by one, as QEMU does it.
func TestUnequalElementsAreIndexed(t *testing.T) {
	type state struct {
		Queues [2]opaque `vmstate:"queue"`
	}
	d, err := Describe("dev", 1, &state{[2]opaque{{[]byte{1}}, {nil}}})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(d.Fields)
	want := `[{"name":"queue","index":0,"type":"buffer","size":5},{"name":"queue","index":1,"type":"buffer","size":4}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSinceVersion(t *testing.T) {
	type state struct {
		Old uint8 `vmstate:"old"`
		New uint8 `vmstate:"new,since=2"`
	}
	for version, want := range map[uint32]string{1: "01", 2: "0102"} {
		got, err := Marshal("dev", version, &state{1, 2})
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("version %d: %x, %v", version, got, err)
		}
		var back state
		if err := Unmarshal(got, "dev", version, &back); err != nil || back.Old != 1 || (back.New == 2) != (version == 2) {
			t.Errorf("version %d: %+v, %v", version, back, err)
		}
	}
}

func TestValuesThatDoNotFit(t *testing.T) {
	type narrow struct {
		V uint64 `vmstate:"v,uint8"`
	}
	type signed struct {
		V int64 `vmstate:"v,uint32"`
	}
	type mixed struct {
		V uint64 `vmstate:"v,int8"`
	}
	for _, v := range []any{&narrow{256}, &signed{-1}, &signed{1 << 32}, &mixed{128}} {
		if b, err := Marshal("dev", 1, v); err == nil {
			t.Errorf("%+v: encoded as %x", v, b)
		}
	}
	type wide struct {
		V uint8 `vmstate:"v,uint16"`
	}
	type unsigned struct {
		V uint8 `vmstate:"v,int8"`
	}
	for p, v := range map[string]any{"\x01\x00": new(wide), "\xff": new(unsigned)} {
		if err := Unmarshal([]byte(p), "dev", 1, v); err == nil {
			t.Errorf("%x: decoded as %+v", p, v)
		}
	}
}

func TestDamagedSections(t *testing.T) {
	good, err := Marshal("dev", 6, sample())
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(good) {
		// Without its subsection a section is whole.
		if err := Unmarshal(good[:n], "dev", 6, blank()); err == nil && n != len(good)-15 {
			t.Errorf("decoded from %d bytes of %d", n, len(good))
		}
	}
	if err := Unmarshal(append(good, 0), "dev", 6, blank()); err == nil {
		t.Error("a byte too many went unnoticed")
	}
	again := append(good[:len(good):len(good)], good[len(good)-15:]...)
	if err := Unmarshal(again, "dev", 6, blank()); err == nil {
		t.Error("the same subsection twice went unnoticed")
	}
	newer := strings.Replace(string(good), "dev/sub\x00\x00\x00\x04", "dev/sub\x00\x00\x00\x05", 1)
	err = Unmarshal([]byte(newer), "dev", 6, blank())
	if err == nil || !strings.Contains(err.Error(), "unsupported version 5 for 'dev/sub' v4") {
		t.Errorf("subsection of a newer version: %v", err)
	}
	unknown := strings.Replace(string(good), "dev/sub", "dev/sup", 1)
	if err := Unmarshal([]byte(unknown), "dev", 6, blank()); err == nil {
		t.Error("an unknown subsection went unnoticed")
	}
}

func TestMistakesInTypes(t *testing.T) {
	for name, v := range map[string]any{
		"no tag": &struct{ A uint8 }{},
		"plain int": &struct {
			A int `vmstate:"a"`
		}{},
		"string": &struct {
			A string `vmstate:"a"`
		}{},
		"unknown word": &struct {
			A uint8 `vmstate:"a,wide"`
		}{},
		"no name": &struct {
			A uint8 `vmstate:",uint16"`
		}{},
		"unexported": &struct {
			a uint8 `vmstate:"a"`
		}{},
		"subsection no ptr": &struct {
			A inner `vmstate:"dev/a,subsection=1"`
		}{},
		"buffer of words": &struct {
			A [2]uint16 `vmstate:"a,buffer"`
		}{},
		"no padding": &struct {
			_ struct{} `vmstate:"unused,unused=0"`
		}{},
		"foreign subsection": &struct {
			A *inner `vmstate:"other/a,subsection=1"`
		}{A: &inner{}},
		"not a pointer":       inner{},
		"pointer to a number": new(int),
	} {
		if _, err := Marshal("dev", 1, v); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
