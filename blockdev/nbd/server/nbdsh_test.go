package server_test

import (
	"os"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev/nbd/server"
	"github.com/qmon/qmon/internal/peer"
)

// shell makes every kind of request with libnbd in strict mode off, and asserts what comes.
const shell = `
import errno
h.set_strict_mode(0)
h.set_request_structured_replies(True)
h.add_meta_context("base:allocation")
h.add_meta_context("qemu:allocation-depth")
h.connect_uri(URI)
assert h.get_structured_replies_negotiated() and h.can_df() and h.can_fast_zero() and h.can_cache()
h.pwrite(b"x" * 65536, 0, nbd.CMD_FLAG_FUA)
h.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE)
h.zero(4096, 8192, nbd.CMD_FLAG_FAST_ZERO)
h.trim(4096, 16384)
h.cache(65536, 0)
h.flush()
assert h.pread(8192, 4096) == bytes(8192)
assert h.pread(4096, 12288, nbd.CMD_FLAG_DF) == b"x" * 4096
chunks = []
def chunk(buf, offset, status, err):
    chunks.append((offset, len(buf), status))
h.pread_structured(131072, 0, chunk)
assert chunks[-1][2] == nbd.READ_HOLE, chunks
extents = {}
def extent(context, offset, entries, err):
    extents.setdefault(context, []).extend(entries)
h.block_status(131072, 0, extent)
assert set(extents) == {"base:allocation", "qemu:allocation-depth"}, extents
assert sum(extents["base:allocation"][0::2]) == 131072, extents
extents.clear()
h.block_status(131072, 0, extent, nbd.CMD_FLAG_REQ_ONE)
assert len(extents["base:allocation"]) == 2, extents
def fails(wanted, f, *args):
    try:
        f(*args)
    except nbd.Error as e:
        assert e.errnum == wanted, (e.errnum, args)
        return
    raise AssertionError(args)
size = h.get_size()
fails(errno.ENOSPC, h.pwrite, b"x", size)
fails(errno.EINVAL, h.pread, 1, size)
fails(errno.EINVAL, h.trim, 2, size - 1)
fails(errno.ENOSPC, h.zero, 2, size - 1)
fails(errno.EINVAL, h.block_status, 0, 0, extent)
h.shutdown()
print("all well")
`

func TestNBDShell(t *testing.T) {
	peer.Need(t, "nbdsh")
	t.Setenv("PATH", "/usr/bin:"+os.Getenv("PATH")) // the system's Python has libnbd
	_, path := serve(t, emptyDisk(1<<20), server.Options{})
	script := strings.ReplaceAll(shell, "URI", `"`+uri(path)+`"`)
	if out := peer.Run(t, "nbdsh", "-c", script); !strings.Contains(out, "all well") {
		t.Error(out)
	}
}
