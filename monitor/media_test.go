package monitor_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/monitor"
)

// device records what a drive tells it.
type device struct{ heard []string }

func (d *device) MediumChanged(loaded bool) { d.heard = append(d.heard, fmt.Sprint("loaded ", loaded)) }
func (d *device) TrayMoved(open bool)       { d.heard = append(d.heard, fmt.Sprint("tray ", open)) }
func (d *device) EjectRequested(force bool) { d.heard = append(d.heard, fmt.Sprint("eject ", force)) }
func (d *device) Resized()                  { d.heard = append(d.heard, "resized") }

func (d *device) said() string {
	all := strings.Join(d.heard, ", ")
	d.heard = nil
	return all
}

// newBenchMonitor is a monitor over the machine that a scenario describes.
func newBenchMonitor(t *testing.T, sc scenario) (*monitor.Monitor, *bench) {
	t.Helper()
	b := newBench(t, sc, t.TempDir())
	mon := monitor.New(monitor.Config{Machine: b.machine, Drives: b.builder})
	t.Cleanup(func() { mon.Close() })
	return mon, b
}

// expect runs lines, in which @DIR@ is the bench's folder, and compares what they print.
func (b *bench) expect(mon *monitor.Monitor, lines ...[2]string) {
	b.t.Helper()
	for _, l := range lines {
		line, want := strings.ReplaceAll(l[0], "@DIR@", b.dir), strings.ReplaceAll(l[1], "@DIR@", b.dir)
		if got := run(b.t, mon, line); got != want {
			b.t.Errorf("%q gave %q, want %q", line, got, want)
		}
	}
}

func (b *bench) drive(name string) *blockdev.Drive {
	b.t.Helper()
	d, ok := b.machine.Drives().Get(name)
	if !ok {
		b.t.Fatalf("no drive %s", name)
	}
	return d
}

func image(words ...any) []any { return words }

// failing is a disk that cannot be flushed, or not be closed.
type failing struct {
	*blocktest.Memory
	flush, close error
	closed       int
}

func (f *failing) Flush() error { return f.flush }

func (f *failing) Close() error {
	f.closed++
	return f.close
}

// insert puts a disk into an empty drive.
func (b *bench) insert(drive string, n blockdev.Node) {
	b.t.Helper()
	v, err := b.builder.Graph.Add(n, "", blockdev.Mode{Writable: true})
	if err == nil {
		err = b.drive(drive).Insert(v)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestMediumThatFailsAtItsEnd: the one that comes after it is not closed in its place, and a
// drive that is taken away leaves none open.
func TestMediumThatFailsAtItsEnd(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{image("create", "-f", "raw", "@DIR@/a.raw", "1M")},
		Setup:  []string{"-nodefaults", "-drive", "if=none,id=d", "-drive", "if=none,id=e"},
	})
	old := &failing{Memory: blocktest.NewMemory(make([]byte, 512)), close: errors.New("no space")}
	b.insert("d", old)
	b.expect(mon, [2]string{"change d @DIR@/a.raw raw", "Error: no space\n"})
	if _, err := b.drive("d").ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("the new medium: %v", err)
	}
	lost := &failing{Memory: blocktest.NewMemory(make([]byte, 512)), flush: errors.New("no server")}
	b.insert("e", lost)
	b.expect(mon, [2]string{"drive_del e", "Error: no server\n"})
	if old.closed != 1 || lost.closed != 1 {
		t.Errorf("closed %d and %d times", old.closed, lost.closed)
	}
}

func TestGuestIsAskedForItsMedium(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{
			image("create", "-f", "raw", "@DIR@/cd.iso", "1M"),
			image("create", "-f", "raw", "@DIR@/new.iso", "2M"),
		},
		Setup: []string{"-nodefaults", "-drive", "if=none,id=cd,media=cdrom,file=@DIR@/cd.iso,format=raw"},
	})
	var dev device
	cd := b.drive("cd")
	if err := cd.Attach("/cd", &dev); err != nil {
		t.Fatal(err)
	}
	cd.SetLocked(true)
	const locked = "Error: Device 'cd' is locked and force was not specified, wait for tray to open and try again\n"
	b.expect(mon, [2]string{"eject cd", locked}, [2]string{"change cd @DIR@/new.iso raw", locked})
	if got := dev.said(); got != "eject false, eject false" || cd.Medium() == nil {
		t.Errorf("the device heard %q", got)
	}
	cd.SetTray(true) // the guest gives in
	b.expect(mon, [2]string{"eject cd", ""})
	if got := dev.said(); got != "tray true, loaded false" || cd.Medium() != nil || !cd.TrayOpen() {
		t.Errorf("the device heard %q, tray open: %v", got, cd.TrayOpen())
	}
	b.expect(mon, [2]string{"change cd @DIR@/new.iso raw", ""})
	if got := dev.said(); got != "loaded true, tray false" || cd.TrayOpen() {
		t.Errorf("the device heard %q, tray open: %v", got, cd.TrayOpen())
	}
	b.expect(mon, [2]string{"change cd -f @DIR@/cd.iso raw", ""}, [2]string{"eject -f cd", ""})
	if got := dev.said(); got != "tray true, loaded false, loaded true, tray false, tray true, loaded false" {
		t.Errorf("the device heard %q", got)
	}
}

// A medium that cannot be opened, or is the one that is in already, leaves a medium in.
func TestChangeKeepsAMedium(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{image("create", "-f", "qcow2", "@DIR@/a.qcow2", "1M")},
		Setup:  []string{"-nodefaults", "-drive", "if=none,id=d,file=@DIR@/a.qcow2"},
	})
	d := b.drive("d")
	b.expect(mon,
		[2]string{"change d @DIR@/nosuch", "Error: Could not open '@DIR@/nosuch': No such file or directory\n"},
		[2]string{"change d @DIR@/a.qcow2 nosuch", "Error: Unknown driver 'nosuch'\n"},
		[2]string{"change d @DIR@/a.qcow2 qcow2 sometimes", "Error: invalid parameter value: sometimes\n"},
		[2]string{"change d @DIR@/a.qcow2", ""},
	)
	if v := d.Medium(); v == nil || !v.Mode().Writable {
		t.Error("the medium is gone, or cannot be written")
	}
	b.expect(mon, [2]string{"change d @DIR@/a.qcow2 qcow2 read-only", ""})
	if v := d.Medium(); v == nil || v.Mode().Writable {
		t.Error("the medium is gone, or can be written")
	}
	b.expect(mon, [2]string{"change d @DIR@/a.qcow2 qcow2 retain", ""})
	if v := d.Medium(); v == nil || v.Mode().Writable {
		t.Error("the medium is gone, or can be written")
	}
}

func TestDriveAdd(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{image("create", "-f", "qcow2", "@DIR@/a.qcow2", "1M")},
		Setup:  []string{"-nodefaults"},
	})
	b.expect(mon,
		[2]string{"drive_add 0 if=virtio,id=v", "Can't hot-add drive to type 7\n"},
		[2]string{`drive_add 0 ""`, "Can't hot-add drive to type 1\n"},
		[2]string{"drive_add 0 if=foo,id=f", "unsupported bus type 'foo'\n"},
		[2]string{"drive_add 0 if=none,id=9", "Parameter 'id' expects an identifier\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n"},
		[2]string{"info block", ""},
		[2]string{"drive_add -n 0 driver=qcow2", "'node-name' needs to be specified\n"},
		[2]string{"drive_add -n 0 driver=null-co,node-name=nn", ""},
		[2]string{"drive_add -n 0 driver=null-co,node-name=nn", "Duplicate nodes with node-name='nn'\n"},
		[2]string{"drive_add -n 0 driver=null-co,node-name=9", "Invalid node-name: '9'\n"},
		[2]string{"drive_add -n 0 driver=foo,node-name=n2", "Unknown driver 'foo'\n"},
		[2]string{"drive_del nn", ""},
		[2]string{"drive_del nn", "Device 'nn' not found\n"},
		[2]string{"drive_add 0 if=none,id=x,file=@DIR@/a.qcow2", "OK\n"},
		[2]string{"drive_del x", ""},
		[2]string{"drive_add 0 if=none,id=x,file=@DIR@/a.qcow2", "OK\n"},
	)
}

func TestResizeTellsTheDevice(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{image("create", "-f", "raw", "@DIR@/a.img", "1M")},
		Setup:  []string{"-nodefaults", "-drive", "if=none,id=d,file=@DIR@/a.img,format=raw"},
	})
	var dev device
	if err := b.drive("d").Attach("/disk", &dev); err != nil {
		t.Fatal(err)
	}
	b.expect(mon, [2]string{"block_resize d 3", ""})
	if size, err := b.drive("d").Size(); err != nil || size != 3<<20 || dev.said() != "resized" {
		t.Errorf("size %d, %v", size, err)
	}
	if _, err := b.drive("d").Remove(); err != nil {
		t.Fatal(err)
	}
	b.expect(mon, [2]string{"block_resize d 3", "Error: Device 'd' has no medium\n"},
		[2]string{"commit d", "Device 'd' has no medium\n"})
}

// What a snapshot holds alone grows with what is written after it was made.
func TestSpaceOfSnapshots(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{image("create", "-f", "qcow2", "@DIR@/a.qcow2", "8M")},
		Setup:  []string{"-nodefaults", "-drive", "if=none,id=d,file=@DIR@/a.qcow2"},
	})
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i)
	}
	write := func() {
		t.Helper()
		if _, err := b.drive("d").WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
	}
	write()
	b.expect(mon, [2]string{"savevm one", ""})
	write()
	b.expect(mon, [2]string{"savevm two", ""})
	got := run(t, mon, "info snapshots -v")
	for tag, least := range map[string]string{"one": `1(\.\d+)? MiB`, "two": `\d+ KiB`} {
		row := regexp.MustCompile(`(?m)^d +\d +` + tag + ` +` + least + `$`)
		if !row.MatchString(got) {
			t.Errorf("no row %s in\n%s", row, got)
		}
	}
}

func TestCommitAllStopsAtAnError(t *testing.T) {
	mon, b := newBenchMonitor(t, scenario{
		Images: [][]any{
			image("create", "-f", "raw", "@DIR@/base.img", "1M"),
			image("create", "-f", "qcow2", "-b", "@DIR@/base.img", "-F", "raw", "@DIR@/a.qcow2"),
		},
		Setup: []string{"-nodefaults", "-drive", "if=none,id=d,readonly=on,file=" + filepath.Join("@DIR@", "a.qcow2")},
	})
	b.expect(mon,
		[2]string{"commit d", "'commit' error for 'd': Permission denied\n"},
		[2]string{"commit all", "'commit' error for 'all': Permission denied\n"},
	)
}
