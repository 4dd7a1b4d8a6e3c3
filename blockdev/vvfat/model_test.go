package vvfat_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/nbd"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

// model does the same to a guest's disk, with mtools, and to a map.
type model struct {
	*guest
	rng  *rand.Rand
	want contents
	next int
}

// TestRandomFileOperations does random things with mtools and brings the directory up to
// date after some of them, sectors in random order and with flushes among them.
func TestRandomFileOperations(t *testing.T) {
	seeds := uint64(9)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			doRandomThings(t, seed, 12, func(t testing.TB, name string) *blockdev.Vertex { return openDisk(t, name, true) })
		})
	}
}

// TestRandomFileOperationsOverNBD does them as the client of a server that has the directory.
func TestRandomFileOperationsOverNBD(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { doRandomThings(t, seed, 4, openServed) })
	}
}

// openServed serves a directory on a socket, and opens what the server has.
func openServed(t testing.TB, name string) *blockdev.Vertex {
	t.Helper()
	disk := openDisk(t, name, true)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() {
		served <- server.Serve(ctx, l, server.Export{Name: "disk", Backend: server.FromNode(disk.Node), Size: disk.Node.Size()})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		closeDisk(t, disk)
	})
	client, err := new(blockdev.Graph).Open(t.Context(), "nbd+unix:///disk?socket="+socket, blockdev.OpenOptions{Driver: "nbd", Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// doRandomThings does the things of a seed in that many rounds, on the disk that open makes.
func doRandomThings(t *testing.T, seed uint64, rounds int, open func(t testing.TB, name string) *blockdev.Vertex) {
	t.Helper()
	k := []string{"floppy:", "floppy:12:", "floppy:16:"}[seed%3]
	start := contents{"ONE": strings.Repeat("1", 3000), "A folder with a name/": "", "A folder with a name/two.text": "2", "EMPTY": ""}
	m := &model{guest: newGuestOf(t, k, 0, start, open), rng: rand.New(rand.NewPCG(seed, 1)), want: start.clone()}
	for range rounds {
		before := m.want.clone()
		for range 1 + m.rng.IntN(5) {
			m.step()
		}
		m.carry(before)
	}
	fsck(t, export(t, m.disk.Node), 0)
	closeDisk(t, m.disk)
	if d := cmp.Diff(m.want, readDir(t, m.dir)); d != "" {
		t.Error(d)
	}
}

func (c contents) clone() contents { return maps.Clone(c) }

// carry writes the changed sectors in any order, with flushes, and compares. What is the
// same before and after is there all the time.
func (m *model) carry(before contents) {
	m.t.Helper()
	list := changes(m.t, m.disk.Node, m.file)
	m.rng.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
	for _, c := range list {
		if _, err := m.disk.Node.WriteAt(c.data, c.off); err != nil {
			m.t.Fatal(err)
		}
		if m.rng.IntN(10) != 0 {
			continue
		}
		if err := m.disk.Node.Flush(); err != nil {
			m.t.Fatal(err)
		}
		now := readDir(m.t, m.dir)
		for name, data := range before {
			if after, ok := m.want[name]; ok && after == data && now[name] != data {
				m.t.Fatalf("%s is damaged half way", name)
			}
		}
	}
	m.settle(m.want)
}

// names of files or folders, in order, so that a seed always means the same.
func (m *model) names(folders bool) []string {
	var out []string
	for name := range m.want {
		if strings.HasSuffix(name, "/") == folders {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (m *model) pick(list []string) string { return list[m.rng.IntN(len(list))] }

// fresh is a new name in any folder.
func (m *model) fresh(folders []string) string {
	m.next++
	base := fmt.Sprintf([]string{"FILE%d", "a longer name %d.text", "ünïcode – %d", "%d.many.dots"}[m.rng.IntN(4)], m.next)
	return path.Join(m.pick(folders), base)
}

// step does one thing.
func (m *model) step() {
	m.t.Helper()
	files, folders := m.names(false), append(m.names(true), "")
	data := strings.Repeat(string(rune('a'+m.rng.IntN(26))), m.rng.IntN(1+m.rng.IntN(9000)))
	switch op := m.rng.IntN(6); {
	case op == 0 || len(files) == 0:
		name := m.fresh(folders)
		m.put(name, data)
		m.want[name] = data
	case op == 1:
		name := m.pick(files)
		m.put(name, data)
		m.want[name] = data
	case op == 2:
		name := m.fresh(folders)
		m.run("mmd", "::"+name)
		m.want[name+"/"] = ""
	case op == 3 && len(files) > 2:
		name := m.pick(files)
		m.run("mdel", "::"+name)
		delete(m.want, name)
	case op == 4:
		from, to := m.pick(files), m.fresh(folders)
		m.run("mren", "::"+from, "::"+to)
		m.want[to] = m.want[from]
		delete(m.want, from)
	case op == 5 && len(folders) > 3:
		m.dropOrMove(m.pick(folders[:len(folders)-1]))
	}
}

// dropOrMove removes a folder with all that is in it, or renames it.
func (m *model) dropOrMove(folder string) {
	m.t.Helper()
	to := ""
	if m.rng.IntN(3) == 0 {
		m.run("mdeltree", "::"+strings.TrimSuffix(folder, "/"))
	} else {
		to = m.fresh([]string{""}) + "/"
		m.run("mren", "::"+strings.TrimSuffix(folder, "/"), "::"+strings.TrimSuffix(to, "/"))
	}
	for name, data := range m.want.clone() {
		if rest, ok := strings.CutPrefix(name, folder); ok {
			delete(m.want, name)
			if to != "" {
				m.want[to+rest] = data
			}
		}
	}
}
