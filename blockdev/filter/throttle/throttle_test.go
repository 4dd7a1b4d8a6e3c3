package throttle

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/registry"
)

// TestBucket fills a bucket and looks at how long the next request would wait.
func TestBucket(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		name   string
		rate   Rate
		level  float64
		passed time.Duration
		want   time.Duration
	}{
		{"unlimited", Rate{Length: 1}, 1e9, 0, 0},
		{"a tenth of a second may be taken at once", Rate{Average: 1000, Length: 1}, 100, 0, 0},
		{"what is more has to leak", Rate{Average: 1000, Length: 1}, 1100, 0, time.Second},
		{"which takes its time", Rate{Average: 1000, Length: 1}, 1100, 750 * time.Millisecond, 250 * time.Millisecond},
		{"a burst of one second", Rate{Average: 100, Max: 1000, Length: 1}, 1000, 0, 0},
		{"no more than that", Rate{Average: 100, Max: 1000, Length: 1}, 1010, 0, 100 * time.Millisecond},
		{"what would take for ever", Rate{Average: 1, Length: 1}, 1 << 50, 0, longestDelay * time.Second},
		{"a long burst keeps to its own rate", Rate{Average: 100, Max: 1000, Length: 60}, 1100, 0, time.Second},
	} {
		b := &bucket{rate: c.rate, level: c.level, burst: c.level, last: start}
		if got := b.full(start.Add(c.passed)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRequestsCountInTheirBuckets(t *testing.T) {
	l, err := ParseLimits(blockdev.Options{
		"bps-total": "1000000000", "iops-read": "100000", "iops-write": "100000", "iops-size": "1000",
	})
	if err != nil {
		t.Fatal(err)
	}
	g := NewGroup(l)
	n := New(blocktest.NewMemory(make([]byte, 8192)), g)
	p := make([]byte, 4000)
	if _, err := n.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := n.WriteAt(p[:500], 0); err != nil {
		t.Fatal(err)
	}
	total := g.bytes[read][0]
	if total != g.bytes[write][0] || total.burst != 4500 {
		t.Errorf("%v bytes", total.burst)
	}
	if r, w := g.requests[read][1].burst, g.requests[write][1].burst; r != 4 || w != 1 {
		t.Errorf("%v reads, %v writes", r, w)
	}
}

// TestFiltersShareTheirGroup has two filters use one group. Time is the bubble's: it passes
// when everybody waits.
func TestFiltersShareTheirGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := Define(blockdev.Options{"id": "g", "x-bps-write": "1000"}); err != nil {
			t.Fatal(err)
		}
		defer registry.Remove("g")
		if err := Define(blockdev.Options{"id": "g"}); blockdev.Message(err) != "attempt to add duplicate property 'g' to object (type 'container')" {
			t.Errorf("a second group of that name: %v", err)
		}
		a, b := New(blocktest.NewMemory(make([]byte, 8192)), lookup("g")), New(blocktest.NewMemory(make([]byte, 8192)), lookup("g"))
		registry.Remove("g") // those who use it keep it
		start := time.Now()
		passed := func(what string, want time.Duration, do func() error) {
			t.Helper()
			if err := do(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if got := time.Since(start).Round(time.Millisecond); got != want {
				t.Errorf("%s: %v have passed, not %v", what, got, want)
			}
		}
		write := func(n *Node) func() error {
			return func() error { _, err := n.WriteAt(make([]byte, 2000), 0); return err }
		}
		passed("the first write", 0, write(a))
		passed("another by the same", 1900*time.Millisecond, write(a)) // 100 bytes may be in the bucket
		waiting := make(chan error)
		go func() { waiting <- write(b)() }()
		synctest.Wait()
		passed("a read of any length", 1900*time.Millisecond, func() error { _, err := b.ReadAt(make([]byte, 8192), 0); return err })
		passed("a write by the other", 3900*time.Millisecond, func() error { return <-waiting })
		go func() { waiting <- blockdev.WriteZeroes(a, 0, 8192, 0) }()
		synctest.Wait()
		a.group.set(Limits{})
		passed("zeroes, when the limits were taken away", 3900*time.Millisecond, func() error { return <-waiting })
		passed("a discard without limits", 3900*time.Millisecond, func() error { return blockdev.Discard(b, 0, 8192) })
	})
}

func TestRefusals(t *testing.T) {
	for options, want := range map[string]string{
		"x-bps-total=x":                      "Parameter 'x-bps-total' expects integer",
		"x-foo=1":                            "Parameter 'x-foo' is unexpected",
		"x-bps-total=-1":                     "Property values cannot be negative",
		"x-bps-total=1000 x-bps-read=100":    "bps/iops/max total values and read/write values cannot be used at the same time",
		"x-bps-read-max=100":                 "bps_max/iops_max require corresponding bps/iops values",
		"x-bps-read=1000 x-bps-read-max=100": "bps_max/iops_max cannot be lower than bps/iops",
		"x-bps-read-max-length=10":           "burst length set without burst rate",
		"x-bps-read=1000 x-bps-read-max=2000 x-bps-read-max-length=0": "the burst length cannot be 0",
		"x-iops-size=4096 x-iops-total=0":                             "iops size requires an iops value to be set",
	} {
		o := blockdev.Options{"id": t.Name()}
		for _, option := range strings.Fields(options) {
			k, v, _ := strings.Cut(option, "=")
			o[k] = v
		}
		if err := Define(o); blockdev.Message(err) != want {
			t.Errorf("%s: %q, want %q", options, blockdev.Message(err), want)
		}
		registry.Remove(t.Name())
	}
}

// TestDrainLetsRequestsGo: a drive whose limits would hold requests back for days is empty at
// once if that is asked for, whoever else uses the limits.
func TestDrainLetsRequestsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := NewGroup(Limits{BytesWrite: Rate{Average: 1, Length: 1}})
		start := time.Now()
		var g blockdev.Graph
		var drives []*blockdev.Drive
		for range 2 {
			v, err := g.Add(New(blocktest.NewMemory(make([]byte, 1<<20)), group), "", blockdev.Mode{Writable: true})
			if err != nil {
				t.Fatal(err)
			}
			d := blockdev.NewDrive(blockdev.DriveConfig{})
			if err := d.Insert(v); err != nil {
				t.Fatal(err)
			}
			drives = append(drives, d)
			for range 3 {
				go func() {
					if _, err := d.WriteAt(make([]byte, 1<<20), 0); err != nil {
						t.Error(err)
					}
				}()
			}
			synctest.Wait()
		}
		for i := range drives {
			v, err := drives[len(drives)-1-i].Remove() // the one that waits behind the other first
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("removing the medium took %v", took)
			}
			if err := v.Unref(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestTheFirstWrongLimitIsTold: of several the same one each time, in QEMU's order.
func TestTheFirstWrongLimitIsTold(t *testing.T) {
	for range 20 {
		_, err := ParseLimits(blockdev.Options{"iops-total": "2000000000000000", "bps-total": "-1", "iops-read-max": "1"})
		if blockdev.Message(err) != "Property values cannot be negative" {
			t.Fatal(err)
		}
	}
}
