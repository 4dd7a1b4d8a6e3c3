package protocol

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
)

// wire compares bytes with how proto.md draws them; spaces are for the reader.
func wire(t *testing.T, got []byte, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.ReplaceAll(want, " ", ""), hex.EncodeToString(got)); diff != "" {
		t.Errorf("on the wire: %s", diff)
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name     string
		request  Request
		extended bool
		want     string
	}{
		{"read", Request{0, CmdRead, 0x0102030405060708, 0x1000, 0x200}, false,
			"25609513 0000 0000 0102030405060708 0000000000001000 00000200"},
		{"write with FUA", Request{CmdFlagFUA, CmdWrite, 2, 1 << 40, 1 << 20}, false,
			"25609513 0001 0001 0000000000000002 0000010000000000 00100000"},
		{"fast zero", Request{CmdFlagFastZero | CmdFlagNoHole, CmdWriteZeroes, 3, 0, 0xffffffff}, false,
			"25609513 0012 0006 0000000000000003 0000000000000000 ffffffff"},
		{"extended trim", Request{0, CmdTrim, 4, 8, 1 << 40}, true,
			"21e41c71 0000 0004 0000000000000004 0000000000000008 0000010000000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.request.Append(nil, tt.extended)
			wire(t, b, tt.want)
			back, err := DecodeRequest(b, tt.extended)
			if err != nil || back != tt.request {
				t.Errorf("decoded %+v, %v", back, err)
			}
			if _, err := DecodeRequest(b, !tt.extended); !errors.Is(err, ErrProtocol) {
				t.Errorf("taken with the other header: %v", err)
			}
		})
	}
}

func TestRepliesOnTheWire(t *testing.T) {
	wire(t, AppendSimple(nil, 7, ENOSPC), "67446698 0000001c 0000000000000007")
	chunk := Reply{Flags: ReplyFlagDone, Kind: ChunkHole, Cookie: 9, Length: HolePayload}
	wire(t, chunk.Append(nil, StructuredReplies), "668e33ef 0001 0002 0000000000000009 0000000c")
	chunk.Offset = 0x77
	b := chunk.Append(nil, ExtendedReplies)
	wire(t, b, "6e8a278c 0001 0002 0000000000000009 0000000000000077 000000000000000c")
	back, err := DecodeReply(b, ExtendedReplies)
	if diff := cmp.Diff(chunk, back); err != nil || diff != "" {
		t.Error(err, diff)
	}
	wire(t, AppendHole(nil, 0x1000, 0x200), "0000000000001000 00000200")
	wire(t, AppendError(nil, EIO, "bad"), "00000005 0003 626164")
	wire(t, AppendBlockStatus(nil, 5, []Extent{{16, StateHole}}, false), "00000005 00000010 00000001")
	wire(t, AppendBlockStatus(nil, 5, []Extent{{16, StateHole}}, true),
		"00000005 00000001 0000000000000010 0000000000000001")
}

func TestOptionsOnTheWire(t *testing.T) {
	wire(t, AppendOption(nil, OptGo, InfoRequest{"ab", []InfoKind{InfoBlockSize}}.Append(nil)),
		"49484156454f5054 00000007 0000000a 00000002 6162 0001 0003")
	wire(t, AppendOptionReply(nil, OptSetMetaContext, RepMetaContext, Context{1, "x:y"}.Append(nil)),
		"0003e889045565a9 0000000a 00000004 00000007 00000001 783a79")
	info := ExportInfo{Size: 1 << 20, Flags: FlagHasFlags | FlagSendDF, Blocks: BlockSizes{1, 4096, MaxPayload}}
	wire(t, info.Append(nil, InfoExport), "0000 0000000000100000 0081")
	wire(t, info.Append(nil, InfoBlockSize), "0003 00000001 00001000 02000000")
	wire(t, Listed{"a", "text"}.Append(nil), "00000001 61 74657874")
}

func TestHostileMessagesAreRefused(t *testing.T) {
	blocks := func(s BlockSizes) func() error {
		return func() error {
			_, err := new(ExportInfo).Decode((&ExportInfo{Blocks: s}).Append(nil, InfoBlockSize))
			return err
		}
	}
	decode := func(text string, f func([]byte) error) func() error {
		return func() error {
			b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			return f(b)
		}
	}
	for name, refused := range map[string]func() error{
		"minimum block is no power of two": blocks(BlockSizes{3, 4096, 1 << 20}),
		"minimum block is zero":            blocks(BlockSizes{0, 4096, 1 << 20}),
		"maximum block below the minimum":  blocks(BlockSizes{4096, 4096, 512}),
		"name longer than the option": decode("00001000 6162", func(b []byte) error {
			_, err := DecodeInfoRequest(b)
			return err
		}),
		"bytes behind the last field": decode("00000000 0000 00", func(b []byte) error {
			_, err := DecodeInfoRequest(b)
			return err
		}),
		"four billion queries": decode("00000000 ffffffff", func(b []byte) error {
			_, err := DecodeContextRequest(b)
			return err
		}),
		"error message longer than its chunk": decode("00000005 ffff 61", func(b []byte) error {
			_, err := DecodeError(b)
			return err
		}),
		"extent of length 0": decode("00000000 00000000 00000000", func(b []byte) error {
			_, _, err := DecodeBlockStatus(b, false)
			return err
		}),
		"count that is not that of the extents": decode(
			"00000000 00000002 0000000000000001 0000000000000000", func(b []byte) error {
				_, _, err := DecodeBlockStatus(b, true)
				return err
			}),
		"extents that overflow": decode(
			"00000000 00000001 ffffffffffffffff 0000000000000000", func(b []byte) error {
				_, _, err := DecodeBlockStatus(b, true)
				return err
			}),
		"chunk of 4 GiB": decode("668e33ef 0001 0001 0000000000000009 ffffffff", func(b []byte) error {
			_, err := DecodeReply(b, StructuredReplies)
			return err
		}),
		"structured reply that was not agreed on": decode(
			"668e33ef 0001 0000 0000000000000009 00000000", func(b []byte) error {
				_, err := DecodeReply(b, SimpleReplies)
				return err
			}),
		"hole of no bytes": decode("0000000000000000 00000000", func(b []byte) error {
			_, _, err := DecodeHole(b)
			return err
		}),
	} {
		if err := refused(); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorNumbers(t *testing.T) {
	for e, known := range errnos {
		if got := ErrnoOf(known.sys); got != e && e != ESHUTDOWN && e != EOVERFLOW {
			t.Errorf("%v becomes %v on the wire, not %v", known.sys, got, e)
		}
		remote := &RemoteError{Errno: e, Message: "because"}
		if known.kind != nil && !errors.Is(remote, known.kind) || !errors.Is(remote, known.sys) {
			t.Errorf("%v matches neither its kind nor the system's error", remote)
		}
	}
	if !errors.Is(Errno(9999), errnos[EIO].sys) || errors.Is(Errno(9999), blockdev.ErrNoSpace) {
		t.Error("an unknown number is not an I/O error")
	}
}

// FuzzClientMessages: what a server reads never panics, and comes back the same when it is
// encoded again.
func FuzzClientMessages(f *testing.F) {
	f.Add((&Request{Command: CmdRead, Length: 512}).Append(nil, false))
	f.Add((&Request{Command: CmdTrim, Length: 512}).Append(nil, true))
	f.Add(InfoRequest{"name", []InfoKind{InfoName}}.Append(nil))
	f.Add(ContextRequest{"name", []string{ContextAllocation, "qemu:"}}.Append(nil))
	f.Add(AppendStatusQuery(nil, 512, []uint32{1, 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, again []byte) {
			if string(again) != string(b) {
				t.Errorf("%s: %x became %x", what, b, again)
			}
		}
		for _, extended := range []bool{false, true} {
			if r, err := DecodeRequest(b, extended); err == nil {
				same("request", r.Append(nil, extended))
			}
		}
		if q, err := DecodeInfoRequest(b); err == nil {
			same("info", q.Append(nil))
		}
		if q, err := DecodeContextRequest(b); err == nil {
			same("contexts", q.Append(nil))
		}
		if n, ids, err := DecodeStatusQuery(b); err == nil {
			same("query", AppendStatusQuery(nil, n, ids))
		}
	})
}

// FuzzServerMessages is FuzzClientMessages for what a client reads.
func FuzzServerMessages(f *testing.F) {
	f.Add(AppendSimple(nil, 1, EIO))
	f.Add((&Reply{Kind: ChunkData, Length: 8}).Append(nil, StructuredReplies))
	f.Add((&Reply{Kind: ChunkData, Length: 8}).Append(nil, ExtendedReplies))
	f.Add(AppendBlockStatus(nil, 1, []Extent{{1, 2}, {3, 4}}, true))
	f.Add(AppendBlockStatus(nil, 1, []Extent{{1, 2}, {3, 4}}, false))
	f.Add(AppendError(nil, EIO, "message"))
	f.Add(Listed{"name", "description"}.Append(nil))
	f.Add((&ExportInfo{Blocks: BlockSizes{1, 4096, 1 << 20}}).Append(nil, InfoBlockSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, mode := range []ReplyMode{SimpleReplies, StructuredReplies, ExtendedReplies} {
			if r, err := DecodeReply(b, mode); err == nil && r.Length > MaxChunk {
				t.Errorf("chunk of %d bytes was taken", r.Length)
			}
		}
		for _, wide := range []bool{false, true} {
			if id, extents, err := DecodeBlockStatus(b, wide); err == nil {
				if again := AppendBlockStatus(nil, id, extents, wide); string(again) != string(b) {
					t.Errorf("%x became %x", b, again)
				}
			}
		}
		_, _ = DecodeError(b)
		_, _, _ = DecodeHole(b)
		_, _ = DecodeListed(b)
		_, _ = DecodeContext(b)
		_, _ = new(ExportInfo).Decode(b)
		_, _, _ = DecodeOptionReply(b, OptGo)
	})
}
