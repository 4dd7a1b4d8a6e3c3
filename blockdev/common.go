package blockdev

import "errors"

// DetectZeroes says what is done about zeroes in a guest's writes.
type DetectZeroes uint8

const (
	DetectZeroesOff   DetectZeroes = iota
	DetectZeroesOn                 // write zeroes without sending them
	DetectZeroesUnmap              // and give their storage back
)

// commonOptions are those that every node has, as QEMU names them.
type commonOptions struct {
	driver       string
	nodeName     string
	detectZeroes DetectZeroes
}

var commonBools = OptionTable{
	{Name: "read-only", Type: OptBool},
	{Name: "auto-read-only", Type: OptBool},
	{Name: "cache.direct", Type: OptBool},
	{Name: "cache.no-flush", Type: OptBool},
	{Name: "cache.writeback", Type: OptBool},
	{Name: "force-share", Type: OptBool},
}

// parseCommon takes the common options out of p.opts into p.common and the mode.
func (p *opening) parseCommon() error {
	p.common = commonOptions{driver: p.o.Driver, nodeName: p.o.NodeName}
	if d, ok := p.opts.Take("driver"); ok {
		if p.o.Driver != "" && p.o.Driver != d {
			return Errorf(ErrInvalid, "open", "", "Driver specified twice")
		}
		p.common.driver = d
	}
	if n, ok := p.opts.Take("node-name"); ok {
		p.common.nodeName = n
	}
	bools := Options{}
	for _, o := range commonBools {
		if s, ok := p.opts.Take(o.Name); ok {
			bools[o.Name] = s
		}
	}
	values, err := commonBools.Parse(bools)
	if err != nil {
		return err
	}
	p.applyBools(values)
	if p.o.Mode.ForceShare && p.o.Mode.Writable {
		return Errorf(ErrInvalid, "open", "", "force-share=on can only be used with read-only images")
	}
	return p.parseDiscard()
}

func (p *opening) applyBools(v Values) {
	m := &p.o.Mode
	set := func(name string, to *bool) {
		if b, ok := v[name].(bool); ok {
			*to = b
		}
	}
	if ro, ok := v["read-only"].(bool); ok && ro {
		m.Writable = false
	}
	set("auto-read-only", &m.AutoReadOnly)
	set("cache.direct", &m.Cache.Direct)
	set("cache.no-flush", &m.Cache.NoFlush)
	set("force-share", &m.ForceShare)
	if wb, ok := v["cache.writeback"].(bool); ok {
		m.Cache.WriteThrough = !wb
	}
}

func (p *opening) parseDiscard() error {
	if s, ok := p.opts.Take("discard"); ok {
		switch s {
		case "unmap", "on":
			p.o.Mode.Unmap = true
		case "ignore", "off":
			p.o.Mode.Unmap = false
		default:
			return Errorf(ErrInvalid, "open", "", "Invalid discard option")
		}
	}
	s, ok := p.opts.Take("detect-zeroes")
	switch {
	case !ok:
		p.common.detectZeroes = p.o.DetectZeroes
	case s == "off":
	case s == "on":
		p.common.detectZeroes = DetectZeroesOn
	case s == "unmap" && !p.o.Mode.Unmap:
		return Errorf(ErrInvalid, "open", "", "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
	case s == "unmap":
		p.common.detectZeroes = DetectZeroesUnmap
	default:
		return Errorf(ErrInvalid, "open", "", "invalid parameter value: %s", s)
	}
	return nil
}

// optionError words what is wrong with a driver's own options as QEMU does.
func (p *opening) optionError(err error) error {
	for _, k := range p.formatOptions().Keys() {
		if _, ok := p.driver.OpenOptions.Lookup(k); !ok {
			return p.unknownOption(k)
		}
	}
	var e *Error
	if errors.As(err, &e) {
		e.Op, e.File = "open", p.text
	}
	return err
}

func (p *opening) unknownOption(key string) error {
	if p.driver.Protocol || len(p.driver.Prefixes) > 0 {
		return Errorf(ErrInvalid, "open", p.text, "Block protocol '%s' doesn't support the option '%s'", p.driver.Name, key)
	}
	return Errorf(ErrInvalid, "open", p.text, "Block format '%s' does not support the option '%s'", p.driver.Name, key)
}
