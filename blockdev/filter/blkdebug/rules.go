package blkdebug

import (
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// ioType is a set of kinds of request.
type ioType uint8

const (
	ioRead ioType = 1 << iota
	ioWrite
	ioWriteZeroes
	ioDiscard
	ioFlush
	ioBlockStatus

	// ioDefault is what fails if a rule does not say.
	ioDefault = ioRead | ioWrite | ioWriteZeroes | ioDiscard | ioFlush
)

var ioTypes = map[string]ioType{
	"read": ioRead, "write": ioWrite, "write-zeroes": ioWriteZeroes, "discard": ioDiscard,
	"flush": ioFlush, "block-status": ioBlockStatus,
}

func (t ioType) String() string {
	for name, bit := range ioTypes {
		if bit == t {
			return name
		}
	}
	return ""
}

type action uint8

const (
	injectError action = iota + 1
	setState
	suspend
)

const sectorSize = 512

// rule says what an event does.
type rule struct {
	action action
	event  blockdev.Event
	state  int64 // that the filter has to be in; 0 for any

	// of injectError
	kinds  ioType
	errno  int64
	sector int64 // that the request has to touch; -1 for any
	once   bool

	newState int64  // of setState
	tag      string // of suspend
}

// The options of rules.
var (
	injectOptions = blockdev.OptionTable{
		{Name: "event", Type: blockdev.OptString, Help: "event that arms the error"},
		{Name: "state", Type: blockdev.OptString, Help: "only in this state"},
		{Name: "iotype", Type: blockdev.OptString, Help: "kind of request that fails; all but block-status"},
		{Name: "errno", Type: blockdev.OptString, Help: "number of the error; EIO"},
		{Name: "sector", Type: blockdev.OptString, Help: "only requests that touch this sector"},
		{Name: "once", Type: blockdev.OptBool, Help: "only the first request"},
		{Name: "immediately", Type: blockdev.OptBool, Help: "no effect: all requests are synchronous here"},
	}
	stateOptions = blockdev.OptionTable{
		{Name: "event", Type: blockdev.OptString, Help: "event that changes the state"},
		{Name: "state", Type: blockdev.OptString, Help: "only in this state"},
		{Name: "new_state", Type: blockdev.OptString, Help: "the state from then on"},
	}
)

func invalid(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "open", "", format, args...)
}

// newRule reads one rule.
func newRule(kind action, o blockdev.Options) (*rule, error) {
	table := injectOptions
	if kind == setState {
		table = stateOptions
	}
	v, err := table.Parse(o)
	if err != nil {
		return nil, err
	}
	event, ok := v["event"].(string)
	if !ok {
		return nil, invalid("Missing event name for rule")
	}
	if !blockdev.KnownEvent(event) {
		return nil, invalid("invalid parameter value: %s", event)
	}
	r := &rule{action: kind, event: blockdev.Event(event), kinds: ioDefault, errno: int64(syscall.EIO), sector: -1}
	r.once, _ = v["once"].(bool)
	for name, to := range map[string]*int64{
		"state": &r.state, "errno": &r.errno, "sector": &r.sector, "new_state": &r.newState,
	} {
		if text, ok := v[name].(string); ok {
			if *to, err = strconv.ParseInt(text, 0, 64); err != nil {
				return nil, invalid("Parameter '%s' expects a number", name)
			}
		}
	}
	if text, ok := v["iotype"].(string); ok {
		if r.kinds, ok = ioTypes[text]; !ok {
			return nil, invalid("invalid parameter value: %s", text)
		}
	}
	return r, nil
}

// Receive does what the rules for an event say. It returns when no breakpoint holds the
// caller any more.
func (n *Node) Receive(e blockdev.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	state, armed := n.state, false
	var stops []*rule
	for _, r := range n.rules {
		if r.event != e || r.state != 0 && r.state != n.state {
			continue
		}
		switch r.action {
		case injectError:
			if !armed {
				n.armed, armed = nil, true
			}
			n.armed = append(n.armed, r)
		case setState:
			state = r.newState
		case suspend:
			stops = append(stops, r)
		}
	}
	for _, r := range stops {
		n.suspend(r)
	}
	n.state = state
}

// check fails if an armed rule is for such a request.
func (n *Node) check(kind ioType, off, length int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.IndexFunc(n.armed, func(r *rule) bool { return r.hits(kind, off, length) })
	if i < 0 {
		return nil
	}
	r := n.armed[i]
	if r.errno <= 0 {
		return nil
	}
	if r.once {
		n.armed = slices.Delete(n.armed, i, i+1)
		n.rules = slices.DeleteFunc(n.rules, func(o *rule) bool { return o == r })
	}
	e := &blockdev.Error{Op: kind.String(), Offset: off, Err: syscall.Errno(r.errno)}
	if e.Err == syscall.ENOSPC {
		e.Kind = blockdev.ErrNoSpace
	}
	return e
}

func (r *rule) hits(kind ioType, off, length int64) bool {
	at := r.sector * sectorSize
	return r.kinds&kind != 0 && (r.sector < 0 || length > 0 && at >= off && at < off+length)
}

// readRules reads those of the config file and those among the options.
func readRules(v blockdev.Values) ([]*rule, error) {
	var rules []*rule
	if name, ok := v["config"].(string); ok && name != "" {
		var err error
		if rules, err = readConfig(name); err != nil {
			return nil, err
		}
	}
	for _, group := range []struct {
		name string
		kind action
	}{{"inject-error", injectError}, {"set-state", setState}} {
		tree, _ := v[group.name].(blockdev.Options)
		more, err := rulesOf(group.name, group.kind, tree)
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
	}
	return rules, nil
}

// rulesOf reads a list of rules, "0.event", "1.event", or a single one, "event".
func rulesOf(group string, kind action, tree blockdev.Options) ([]*rule, error) {
	table := injectOptions
	if kind == setState {
		table = stateOptions
	}
	single := blockdev.Options{}
	for _, o := range table {
		if value, ok := tree.Take(o.Name); ok {
			single[o.Name] = value
		}
	}
	var sections []blockdev.Options
	if len(single) > 0 {
		sections = append(sections, single)
	}
	for i := 0; ; i++ {
		o := tree.Sub(strconv.Itoa(i))
		if len(o) == 0 {
			break
		}
		for _, k := range o.Keys() {
			if _, ok := table.Lookup(k); !ok {
				return nil, invalid("[%s] section doesn't support the option '%s'", group, k)
			}
		}
		sections = append(sections, o)
	}
	if len(tree) > 0 {
		return nil, invalid("Unused option '%s' for [%s]", tree.Keys()[0], group)
	}
	var rules []*rule
	for _, o := range sections {
		r, err := newRule(kind, o)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

var groups = map[string]action{"inject-error": injectError, "set-state": setState}

// group is the kind of rule that a section of a config file has: its first word.
func group(section string) (action, error) {
	name, _, _ := strings.Cut(section, " ")
	kind, ok := groups[name]
	if !ok {
		return 0, invalid("There is no option group '%s'", name)
	}
	return kind, nil
}
