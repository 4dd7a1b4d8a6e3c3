package throttle

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/registry"
)

// direction of a request.
type direction uint8

const (
	read direction = iota
	write
)

// Rate is what is allowed of one thing in a second.
type Rate struct {
	Average int64 // 0 for any number
	// Max is allowed in bursts, for Length seconds at a time; 0 for none.
	Max    int64
	Length int64 // seconds, 1 if not said
}

// Limits of a group: bytes and requests in a second, of all kinds or of reads and writes
// each for themselves.
type Limits struct {
	BytesTotal, BytesRead, BytesWrite          Rate
	RequestsTotal, RequestsRead, RequestsWrite Rate
	// RequestSize makes a longer request count as several; bytes, 0 for none.
	RequestSize int64
}

// namedRate is a rate as options call it: "bps-total", "bps-total-max", "bps-total-max-length".
type namedRate struct {
	name string
	*Rate
}

// rates are all of them, in the order in which QEMU looks at them.
func (l *Limits) rates() []namedRate {
	return []namedRate{
		{"bps-total", &l.BytesTotal}, {"bps-read", &l.BytesRead}, {"bps-write", &l.BytesWrite},
		{"iops-total", &l.RequestsTotal}, {"iops-read", &l.RequestsRead}, {"iops-write", &l.RequestsWrite},
	}
}

func invalid(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", format, args...)
}

// largest is QEMU's limit of a rate.
const largest = 1e15

// validate checks what goes together, in the order and the words of QEMU.
func (l *Limits) validate() error {
	for _, three := range [][3]Rate{
		{l.BytesTotal, l.BytesRead, l.BytesWrite}, {l.RequestsTotal, l.RequestsRead, l.RequestsWrite},
	} {
		each := three[1].Average > 0 || three[2].Average > 0
		eachMax := three[1].Max > 0 || three[2].Max > 0
		if three[0].Average > 0 && each || three[0].Max > 0 && eachMax {
			return invalid("bps/iops/max total values and read/write values cannot be used at the same time")
		}
	}
	if l.RequestSize > 0 && l.RequestsTotal.Average+l.RequestsRead.Average+l.RequestsWrite.Average == 0 {
		return invalid("iops size requires an iops value to be set")
	}
	for _, r := range l.rates() {
		if err := r.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rate) validate() error {
	switch {
	case r.Average < 0 || r.Max < 0 || r.Length < 0:
		return invalid("Property values cannot be negative")
	case r.Average > largest || r.Max > largest:
		return invalid("bps/iops/max values must be within [0, %d]", int64(largest))
	case r.Length == 0:
		return invalid("the burst length cannot be 0")
	case r.Length > 1 && r.Max == 0:
		return invalid("burst length set without burst rate")
	case r.Max > 0 && r.Average == 0:
		return invalid("bps_max/iops_max require corresponding bps/iops values")
	case r.Max > 0 && r.Max < r.Average:
		return invalid("bps_max/iops_max cannot be lower than bps/iops")
	case r.Max > math.MaxInt64/r.Length || float64(r.Max)*float64(r.Length) > largest:
		return invalid("burst length too high for this burst rate")
	}
	return nil
}

// prefixes of limits where they are given: in objects, and in -drive.
var prefixes = []string{"x-", "limits.", "throttling."}

// ParseLimits reads limits from options: "x-bps-total", "throttling.iops-size", ...
func ParseLimits(o blockdev.Options) (Limits, error) {
	var l Limits
	known := map[string]*int64{"iops-size": &l.RequestSize}
	for _, r := range l.rates() {
		r.Length = 1
		known[r.name], known[r.name+"-max"], known[r.name+"-max-length"] = &r.Average, &r.Max, &r.Length
	}
	for _, k := range o.Keys() {
		name := k
		for _, p := range prefixes {
			name = strings.TrimPrefix(name, p)
		}
		to, ok := known[name]
		if !ok {
			return l, invalid("Parameter '%s' is unexpected", k)
		}
		v, err := strconv.ParseInt(o[k], 0, 64)
		if err != nil {
			return l, invalid("Parameter '%s' expects integer", k)
		}
		*to = v
	}
	return l, l.validate()
}

// Group is what filters share.
type Group struct {
	// turn has room for who waits in a direction: the others of that direction come after.
	turn [2]chan struct{}

	mu   sync.Mutex // never held while somebody waits
	size int64
	// changed is closed when the limits become others.
	changed chan struct{}
	// buckets that a request of a direction goes into: of bytes, and of requests.
	bytes, requests [2][]*bucket
}

// NewGroup makes a group with valid limits.
func NewGroup(l Limits) *Group {
	g := &Group{turn: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}}
	g.set(l)
	return g
}

// set replaces the limits; what went before is forgotten.
func (g *Group) set(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.changed != nil {
		close(g.changed)
	}
	g.size, g.changed = l.RequestSize, make(chan struct{})
	add := func(to *[2][]*bucket, total, reads, writes Rate) {
		all := &bucket{rate: total}
		to[read] = []*bucket{all, {rate: reads}}
		to[write] = []*bucket{all, {rate: writes}}
	}
	add(&g.bytes, l.BytesTotal, l.BytesRead, l.BytesWrite)
	add(&g.requests, l.RequestsTotal, l.RequestsRead, l.RequestsWrite)
}

// wait returns when a request may begin, or drained is closed. Those of one direction that
// wait go in the order of their arrival.
func (g *Group) wait(d direction, length int64, drained <-chan struct{}) {
	select {
	case g.turn[d] <- struct{}{}:
	case <-drained:
		return
	}
	defer func() { <-g.turn[d] }()
	for {
		delay, changed := g.enter(d, length)
		if delay == 0 {
			return
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-changed:
		case <-drained:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// enter puts a request into its buckets, or tells how long one of them is too full, and what
// is closed if the limits change before.
func (g *Group) enter(d direction, length int64) (delay time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	requests := 1.0
	if g.size > 0 && length > g.size {
		requests = float64(length) / float64(g.size)
	}
	now := time.Now()
	for _, b := range append(g.bytes[d], g.requests[d]...) {
		delay = max(delay, b.full(now))
	}
	if delay > 0 {
		return delay, g.changed
	}
	for _, b := range g.bytes[d] {
		b.level, b.burst = b.level+float64(length), b.burst+float64(length)
	}
	for _, b := range g.requests[d] {
		b.level, b.burst = b.level+requests, b.burst+requests
	}
	return 0, nil
}

// bucket leaks at the average rate. A second level, of what came in a burst, leaks at the
// burst's rate.
type bucket struct {
	rate         Rate
	level, burst float64
	last         time.Time
}

// slack is the part of a second for which a bucket without bursts takes in more than leaks.
const slack = 10

// full leaks, and tells how long it takes until there is room.
func (b *bucket) full(now time.Time) time.Duration {
	if b.rate.Average == 0 {
		return 0
	}
	passed := now.Sub(b.last).Seconds()
	b.last = now
	average, most := float64(b.rate.Average), float64(b.rate.Max)
	b.level = max(0, b.level-passed*average)
	room := average / slack
	if most > 0 {
		room = most * float64(b.rate.Length)
	}
	seconds := max(0, (b.level-room)/average)
	if b.rate.Length > 1 {
		b.burst = max(0, b.burst-passed*most)
		seconds = max(seconds, (b.burst-most/slack)/most)
	}
	return time.Duration(min(seconds, longestDelay) * float64(time.Second))
}

// longestDelay is how many seconds are waited for before looks are taken again: a year, far
// from what a Duration cannot hold.
const longestDelay = 365 * 24 * 60 * 60

// groups are those that drives made: they are no objects.
var groups = struct {
	sync.Mutex
	m map[string]*Group
}{m: map[string]*Group{}}

// lookup finds a group, nil if there is none.
func lookup(id string) *Group {
	groups.Lock()
	defer groups.Unlock()
	return find(id)
}

// find is lookup with groups locked.
func find(id string) *Group {
	if g := groups.m[id]; g != nil {
		return g
	}
	g, _ := registry.Lookup(id).(*Group)
	return g
}

// ObjectType is what --object calls a group.
const ObjectType = "throttle-group"

// Define makes the group that an object's options describe: "id", and the limits behind
// "x-" or "limits.".
func Define(o blockdev.Options) error {
	rest := o.Clone()
	delete(rest, "qom-type")
	id, ok := rest.Take("id")
	if !ok {
		return invalid("Parameter 'id' is missing")
	}
	l, err := ParseLimits(rest)
	if err != nil {
		return err
	}
	return registry.Add(id, NewGroup(l))
}

// SetLimits gives a group other limits, and makes it if there is none.
func SetLimits(id string, l Limits) {
	groups.Lock()
	defer groups.Unlock()
	if g := find(id); g != nil {
		g.set(l)
		return
	}
	groups.m[id] = NewGroup(l)
}
