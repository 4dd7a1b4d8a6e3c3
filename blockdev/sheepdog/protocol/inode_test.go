package protocol_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

func sampleInode() protocol.Inode {
	return protocol.Inode{
		Name: "disk1", Tag: "snap1", CreateTime: time.Unix(1795338252, 206739000),
		SnapTime: time.Unix(1795338254, 5), VMClock: 123456789, Size: 50331648, VMStateSize: 32768,
		Copies: 3, Shift: 22, SnapID: 1, VID: 0xe8b18f, Parent: 0xe8b18e,
	}
}

// TestInodeLayout holds the encoder against the offsets of the specification.
func TestInodeLayout(t *testing.T) {
	b := make([]byte, protocol.InodeHeaderSize)
	n := sampleInode()
	n.CopyPolicy, n.StorePolicy = 0x22, 1
	n.Encode(b)
	for _, f := range []struct {
		off  int
		want []byte
	}{
		{0, []byte("disk1\x00")},
		{256, []byte("snap1\x00")},
		{520, []byte{5, 0, 0, 0}},
		{528, []byte{0x15, 0xcd, 0x5b, 0x07, 0, 0, 0, 0}},
		{536, []byte{0, 0, 0, 3, 0, 0, 0, 0}},
		{544, []byte{0, 0x80, 0, 0, 0, 0, 0, 0}},
		{552, []byte{0x22, 1, 3, 22, 1, 0, 0, 0, 0x8f, 0xb1, 0xe8, 0, 0x8e, 0xb1, 0xe8, 0}},
	} {
		if got := b[f.off:][:len(f.want)]; !bytes.Equal(got, f.want) {
			t.Errorf("at %d: % x, want % x", f.off, got, f.want)
		}
	}
	if diff := cmp.Diff(n, protocol.DecodeInode(b)); diff != "" {
		t.Error(diff)
	}
}

func TestInodeCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*protocol.Inode)
		kind   error
	}{
		"good":         {func(*protocol.Inode) {}, nil},
		"another VDI":  {func(n *protocol.Inode) { n.VID++ }, blockdev.ErrCorrupt},
		"deleted":      {func(n *protocol.Inode) { n.Name = "" }, blockdev.ErrCorrupt},
		"hypervolume":  {func(n *protocol.Inode) { n.StorePolicy = 1 }, blockdev.ErrNotSupported},
		"small object": {func(n *protocol.Inode) { n.Shift = 19 }, blockdev.ErrCorrupt},
		"large object": {func(n *protocol.Inode) { n.Shift = 32 }, blockdev.ErrCorrupt},
		"huge shift":   {func(n *protocol.Inode) { n.Shift = 255 }, blockdev.ErrCorrupt},
		"largest":      {func(n *protocol.Inode) { n.Size = 4 << 40 }, nil},
		"too large":    {func(n *protocol.Inode) { n.Size = 4<<40 + 1 }, blockdev.ErrCorrupt},
		"negative":     {func(n *protocol.Inode) { n.Size = 1 << 63 }, blockdev.ErrCorrupt},
		"VM state":     {func(n *protocol.Inode) { n.VMStateSize = 1 << 63 }, blockdev.ErrCorrupt},
	} {
		n := sampleInode()
		c.change(&n)
		if err := n.Check("x", 0xe8b18f); !errors.Is(err, c.kind) || (err == nil) != (c.kind == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTableEntries(t *testing.T) {
	table, err := protocol.DecodeTable("x", []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0})
	if diff := cmp.Diff([]protocol.VID{0, 0xffffff}, table); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := protocol.DecodeTable("x", []byte{0, 0, 0, 1}); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("25 bits: %v", err)
	}
}

func TestNames(t *testing.T) {
	for name, kind := range map[string]error{
		"a": nil, strings.Repeat("n", 255): nil,
		"": blockdev.ErrInvalid, "a\x00b": blockdev.ErrInvalid, strings.Repeat("n", 256): blockdev.ErrLimit,
	} {
		if err := protocol.CheckName("name", name); !errors.Is(err, kind) || (err == nil) != (kind == nil) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// FuzzDecode shows that no header or inode makes a decoder panic, and that an inode that
// passes the check leads to sane numbers.
func FuzzDecode(f *testing.F) {
	b := make([]byte, protocol.InodeHeaderSize)
	n := sampleInode()
	n.Encode(b)
	f.Add(b)
	f.Add(make([]byte, protocol.InodeHeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= protocol.HeaderSize {
			_, _ = protocol.DecodeRequest(b), protocol.DecodeResponse(b).Result.Error()
		}
		if len(b) < protocol.InodeHeaderSize {
			return
		}
		n := protocol.DecodeInode(b)
		if n.Check("fuzz", n.VID) == nil && (n.Objects() > protocol.MaxObjects || int64(n.Size) < 0) {
			t.Errorf("%d objects, %d bytes", n.Objects(), n.Size)
		}
		_, _ = protocol.DecodeTable("fuzz", b)
	})
}
