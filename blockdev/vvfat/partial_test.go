package vvfat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// setTable writes entries of the FAT16 table, in both copies.
func setTable(t *testing.T, n *Node, values map[uint32]uint16) {
	t.Helper()
	for c, v := range values {
		for _, table := range []uint32{n.layout.fat, n.layout.fat + n.layout.fatSectors} {
			putAt(t, n, binary.LittleEndian.AppendUint16(nil, v), table, c*2)
		}
	}
}

// entryOf is where the entry of a file of the root directory is, in bytes.
func entryOf(t *testing.T, n *Node, name string) uint32 {
	t.Helper()
	root := make([]byte, sectorSize)
	if err := n.readSectors(root, n.layout.root); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(root, padded(name, 11))
	if at < 0 {
		t.Fatalf("no %s in the root directory", name)
	}
	return uint32(at)
}

// setEntry says where a file begins, and its size.
func setEntry(t *testing.T, n *Node, at, first, size uint32) {
	t.Helper()
	putAt(t, n, binary.LittleEndian.AppendUint16(nil, uint16(first)), n.layout.root, at+26)
	putAt(t, n, binary.LittleEndian.AppendUint32(nil, size), n.layout.root, at+28)
}

// interrupted makes the directory follow; when all is staged, the host touches a file. What
// it returns undoes that.
func interrupted(t *testing.T, n *Node, file string) (restore func()) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	touch := func(later time.Duration) {
		if err := os.Chtimes(file, info.ModTime(), info.ModTime().Add(later)); err != nil {
			t.Fatal(err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	root, err := n.walk()
	if err != nil {
		t.Fatal(err)
	}
	if n.live == nil {
		n.live = newLive(n.tree)
	}
	r := &reconciliation{n: n, files: &n.files, synced: map[string]bool{}}
	r.match(root)
	if err := errors.Join(r.check(root), r.stage(root)); err != nil {
		t.Fatal(err)
	}
	touch(time.Second)
	if err := r.apply(root); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("apply: %v", err)
	}
	if err := r.cleanUp(); err != nil {
		t.Error(err)
	}
	return func() { touch(0) }
}

// readCluster compares the begin of a cluster with what the guest must read there.
func readCluster(t *testing.T, n *Node, cluster uint32, want string) {
	t.Helper()
	p := make([]byte, len(want))
	if _, err := n.ReadAt(p, int64(n.layout.clusterSector(cluster))*sectorSize); err != nil || string(p) != want {
		t.Errorf("cluster %d begins with %.20q, %v; want %.20q", cluster, p, err, want)
	}
}

// wantFile compares a file of the host.
func wantFile(t *testing.T, dir, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
		t.Errorf("%s holds %.20q, %v; want %.20q", name, got, err, want)
	}
}

// clusters is what a file holds: as many clusters as there are letters, filled with them.
func clusters(n *Node, letters string) string {
	var b strings.Builder
	for _, c := range letters {
		b.WriteString(strings.Repeat(string(c), int(n.layout.clusterSize())))
	}
	return b.String()
}

// TestRemovalFailsAfterItsClustersWentElsewhere: the guest gives a cluster in the middle of
// B to A, and B, which is gone in the guest, cannot be removed.
func TestRemovalFailsAfterItsClustersWentElsewhere(t *testing.T) {
	const size = 4 * 8192
	n, dir := openFilesOf(t, map[string]string{"A": "old A", "B": strings.Repeat("b", size)})
	b := n.tree.nodes[2].first
	a := entryOf(t, n, "A")
	putAt(t, n, []byte{deletedMark}, n.layout.root, entryOf(t, n, "B"))
	setTable(t, n, map[uint32]uint16{n.tree.nodes[1].first: 0, b: 0, b + 1: 0, b + 2: 0xFFFF, b + 3: 0})
	setEntry(t, n, a, b+2, 5)
	putAt(t, n, []byte("new A"), n.layout.clusterSector(b+2), 0)

	file := filepath.Join(dir, "B")
	restore := interrupted(t, n, file)
	wantFile(t, dir, "A", "new A")
	readCluster(t, n, b+2, "new A")
	restore()
	readCluster(t, n, b+1, "bbbb") // still there, on both sides of A's
	readCluster(t, n, b+3, "bbbb")
	if err := n.Flush(); err != nil {
		t.Error(err)
	}
	readCluster(t, n, b+2, "new A")
	readCluster(t, n, b+3, "\x00\x00\x00\x00")
	wantFile(t, dir, "A", "new A")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("B is still there: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestClustersChangeHandsUnwritten: of A's three clusters the guest gives the last two to C,
// without writing them, and C's turn fails when A is short already.
func TestClustersChangeHandsUnwritten(t *testing.T) {
	n, dir := openFilesOf(t, map[string]string{"A": strings.Repeat("a", 8192) + strings.Repeat("x", 8192) + strings.Repeat("y", 8192), "C": "old C"})
	a, c := n.tree.nodes[1].first, n.tree.nodes[2].first
	setTable(t, n, map[uint32]uint16{a: 0xFFFF, c: 0})
	setEntry(t, n, entryOf(t, n, "A"), a, 8192)
	setEntry(t, n, entryOf(t, n, "C"), a+1, 2*8192)

	file := filepath.Join(dir, "C")
	restore := interrupted(t, n, file)
	wantFile(t, dir, "A", clusters(n, "a"))
	wantFile(t, dir, "C", "old C")
	readCluster(t, n, a, clusters(n, "a"))
	readCluster(t, n, a+1, clusters(n, "xy"))
	restore()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	wantFile(t, dir, "A", clusters(n, "a"))
	wantFile(t, dir, "C", clusters(n, "xy"))
}

// TestClustersAreSwapped: A and B are written anew, each where the other one was, and B's
// turn fails.
func TestClustersAreSwapped(t *testing.T) {
	n, dir := openFilesOf(t, map[string]string{"A": strings.Repeat("a", 3*8192), "B": "old B"})
	a, b := n.tree.nodes[1].first, n.tree.nodes[2].first
	setTable(t, n, map[uint32]uint16{a: 0xFFFF, a + 1: 0xFFFF, a + 2: 0})
	setEntry(t, n, entryOf(t, n, "A"), b, 5)
	setEntry(t, n, entryOf(t, n, "B"), a+1, 5)
	setTable(t, n, map[uint32]uint16{a: 0})
	putAt(t, n, []byte("new A"), n.layout.clusterSector(b), 0)
	putAt(t, n, []byte("new B"), n.layout.clusterSector(a+1), 0)

	file := filepath.Join(dir, "B")
	restore := interrupted(t, n, file)
	readCluster(t, n, b, "new A")
	readCluster(t, n, a+1, "new B")
	restore()
	if err := n.Flush(); err != nil {
		t.Error(err)
	}
	readCluster(t, n, b, "new A")
	readCluster(t, n, a+1, "new B")
	wantFile(t, dir, "A", "new A")
	wantFile(t, dir, "B", "new B")
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
