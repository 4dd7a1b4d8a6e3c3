package monitor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/driveopt"
	_ "github.com/qmon/qmon/formats/all"
	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/vm"
)

// scenario is a recorded session with QEMU's monitor. See testdata/golden/README.md.
type scenario struct {
	Name    string
	Kind    string
	Machine string
	Tags    []string
	Images  [][]any
	Setup   []string
	Steps   []struct{ In, Out string }
}

// notHere are the sessions that cannot be played without the whole program.
var notHere = map[string]string{
	"info-block-nbd": "starts qemu-nbd; cmd/qmon plays it",
	"info-simple":    "lists devices of a pc",
}

func TestRecordedSessions(t *testing.T) {
	for _, sc := range scenarios(t) {
		t.Run(sc.Name, func(t *testing.T) {
			if reason := notHere[sc.Name]; reason != "" {
				t.Skip(reason)
			}
			if sc.Kind == "start" {
				t.Skip("about the command line")
			}
			t.Setenv("TZ", "UTC")
			play(t, sc)
		})
	}
}

func scenarios(t *testing.T) []scenario {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", "golden", "hmp.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []scenario
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var sc scenario
		if err := json.Unmarshal(lines.Bytes(), &sc); err != nil {
			t.Fatal(err)
		}
		out = append(out, sc)
	}
	if err := lines.Err(); err != nil || len(out) == 0 {
		t.Fatalf("%d scenarios, %v", len(out), err)
	}
	return out
}

// play builds the scenario's machine and types its lines.
func play(t *testing.T, sc scenario) {
	dir := t.TempDir()
	b := newBench(t, sc, dir)
	mon := monitor.New(monitor.Config{Machine: b.machine, Drives: b.builder})
	defer mon.Close()
	w := newWire()
	if _, err := mon.Attach(w, monitor.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(prompt)
	for _, step := range sc.Steps {
		if step.In == "quit" || step.In == "q" {
			break
		}
		prose := strings.Contains(step.Out, " -- ") || strings.HasPrefix(step.Out, "Log items")
		if prose || strings.HasPrefix(step.In, "help ") {
			continue
		}
		line := strings.ReplaceAll(step.In, "@DIR@", dir)
		w.enter(line + "\n")
		got := strings.TrimSuffix(w.until(prompt), prompt)
		got = strings.TrimPrefix(got, line+"\n")
		want := strings.ReplaceAll(step.Out, "@DIR@", dir)
		if !pattern(want).MatchString(got) {
			t.Errorf("%s:\n%swant\n%s", step.In, got, want)
		}
	}
}

// wild are the placeholders of recorded text. Space before those in free is free.
var (
	wild = map[string]string{
		"@NODE@": `#block\d+`, "@DATE@": `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "@CLOCK@": `\d\d+:\d\d:\d\d\.\d{3}`,
		"@SIZE@": `(?:\d+(?:\.\d+)?(?:e[+]\d+)? ?(?:[KMGTPE]i?)?B?|unavailable)`, "@NUM@": `-?\d+(?:\.\d+)?`,
		"@HEX@": `(?:0x)?[0-9a-fA-F]+`, "@QOM@": `/[^\s"]*`, "@VER@": `\d+(?:\.\d+)+(?:[ -][^\n"]*?)?`, "@ANY@": `[^\n]*?`,
	}
	free        = []string{"@SIZE@", "@CLOCK@", "@DATE@", "@NUM@"}
	placeholder = regexp.MustCompile(`@[A-Z]+@`)
)

func pattern(text string) *regexp.Regexp {
	var b strings.Builder
	pos := 0
	for _, m := range placeholder.FindAllStringIndex(text, -1) {
		before, name := text[pos:m[0]], text[m[0]:m[1]]
		bare := strings.TrimRight(before, " ")
		if slices.Contains(free, name) && bare != before {
			before = regexp.QuoteMeta(bare) + " +"
		} else {
			before = regexp.QuoteMeta(before)
		}
		b.WriteString(before + "(?:" + wild[name] + ")")
		pos = m[1]
	}
	b.WriteString(regexp.QuoteMeta(text[pos:]))
	return regexp.MustCompile(`\A(?:` + b.String() + `)\z`)
}

// bench is the machine of a scenario, with its drives.
type bench struct {
	t       *testing.T
	dir     string
	machine *vm.Machine
	builder *driveopt.Builder
}

func newBench(t *testing.T, sc scenario, dir string) *bench {
	t.Helper()
	b := &bench{t: t, dir: dir, machine: startMachine(t, vm.Config{Type: "none"})}
	b.builder = &driveopt.Builder{
		Graph:  new(blockdev.Graph),
		Gate:   blockdev.FollowGate{},
		Drives: b.machine.Drives(),
		Board: driveopt.Board{Default: "ide", Interfaces: map[string]driveopt.Controller{
			"ide": {Buses: 2, Units: 2}, "floppy": {Buses: 1}, "virtio": {Buses: 1}, "sd": {Buses: 1},
		}},
		TempDir: dir,
	}
	if sc.Machine == "virt" {
		b.builder.Board.Default = "none"
	}
	t.Cleanup(func() {
		if err := b.machine.Drives().Close(); err != nil {
			t.Error(err)
		}
	})
	for _, args := range sc.Images {
		var words []string
		for _, a := range args {
			words = append(words, strings.ReplaceAll(fmt.Sprint(a), "@DIR@", dir))
		}
		b.makeImage(words)
	}
	b.builder.Snapshot = slices.Contains(sc.Setup, "-snapshot")
	defaults := !slices.Contains(sc.Setup, "-nodefaults") && sc.Machine != "virt"
	for i, option := range sc.Setup {
		if i+1 < len(sc.Setup) {
			b.option(option, strings.ReplaceAll(sc.Setup[i+1], "@DIR@", dir))
		}
	}
	if defaults {
		b.add(driveopt.Spec{Interface: "ide", Bus: -1, Unit: -1, Index: 2, CDROM: true})
		b.add(driveopt.Spec{Interface: "floppy", Bus: -1, Unit: -1, Index: 0})
		b.add(driveopt.Spec{Interface: "sd", Bus: -1, Unit: -1, Index: 0})
	}
	return b
}

// option takes the options that make drives and devices.
func (b *bench) option(name, value string) {
	switch name {
	case "-hda", "-hdb", "-hdc", "-hdd":
		b.add(driveopt.New(value, "ide", int(name[3]-'a')))
	case "-fda":
		b.add(driveopt.New(value, "floppy", 0))
	case "-cdrom":
		spec := driveopt.New(value, "ide", 2)
		spec.CDROM = true
		b.add(spec)
	case "-drive":
		spec, err := driveopt.Parse(value)
		if err != nil {
			b.t.Fatal(err)
		}
		b.add(spec)
	case "-device":
		kind, id, _ := strings.Cut(value, ",drive=")
		d, ok := b.machine.Drives().Get(id)
		if !ok {
			b.t.Fatalf("no drive %s", id)
		}
		path := "/machine/peripheral-anon/device[0]"
		if kind == "virtio-blk-pci" {
			path += "/virtio-backend"
		}
		b.attach(d, path)
	}
}

func (b *bench) attach(d *blockdev.Drive, path string) {
	if err := d.Attach(path, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) add(s driveopt.Spec) {
	b.t.Helper()
	d, err := b.builder.Add(context.Background(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	placed := b.builder.Placed()
	switch placed[len(placed)-1].Spec.Interface {
	case "ide", "floppy":
		b.attach(d, "/machine/unattached/device[1]")
	case "virtio":
		b.attach(d, "/machine/peripheral-anon/device[0]/virtio-backend")
	}
}

// makeImage does what qemu-img or replay's own words say.
func (b *bench) makeImage(words []string) {
	b.t.Helper()
	var err error
	switch words[0] {
	case "@WRITE@":
		err = os.WriteFile(words[1], []byte(words[2]), 0o600)
	case "@MKDIR@":
		err = os.Mkdir(words[1], 0o700)
	case "create":
		err = b.create(words[1:])
	case "snapshot": // -c NAME FILE
		err = b.snapshot(words[2], words[3])
	default:
		b.t.Fatalf("cannot do %q", words)
	}
	if err != nil {
		b.t.Fatalf("%q: %v", words, err)
	}
}

// create is qemu-img create [-q] -f FORMAT [-b BACKING -F FORMAT] FILE [SIZE].
func (b *bench) create(words []string) error {
	var plain []string
	options := map[string]string{}
	for i := 0; i < len(words); i++ {
		switch {
		case words[i] == "-q":
		case strings.HasPrefix(words[i], "-"):
			options[words[i]] = words[i+1]
			i++
		default:
			plain = append(plain, words[i])
		}
	}
	g := b.builder.Graph
	size := int64(8 << 20) // of the backing files in all scenarios
	if len(plain) > 1 {
		var err error
		if size, err = blockdev.ParseSize(plain[1]); err != nil {
			return err
		}
	}
	if options["-b"] != "" {
		if info, err := os.Stat(options["-b"]); err == nil && options["-F"] == "raw" {
			size = info.Size()
		}
	}
	return g.Create(context.Background(), options["-f"], plain[0], size, nil, blockdev.Reference{
		Kind: blockdev.RefBacking, Parent: plain[0], Name: options["-b"], Format: options["-F"],
	})
}

func (b *bench) snapshot(name, file string) error {
	v, err := b.builder.Graph.Open(context.Background(), file, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		return err
	}
	defer v.Unref()
	_, err = v.Node.(blockdev.Snapshotter).CreateSnapshot(blockdev.Snapshot{Name: name})
	return err
}
