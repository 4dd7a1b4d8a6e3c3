// Package authz keeps the lists of who may do something, which objects of the command line
// define and servers refer to by ID:
//
//	--object authz-simple,id=a,identity=NAME
//	--object authz-list,id=a,policy=deny,rules.0.match=*,CN=vm?,rules.0.policy=allow,rules.0.format=glob
//	--object authz-list-file,id=a,filename=FILE[,refresh=on|off]   the same, as JSON
//
// The identity of a TLS client is the distinguished name of its certificate, in the order
// in which the certificate has its parts: C=GB,O=Example,CN=vm1 (see TLSIdentity).
package authz

import (
	"path"
	"strconv"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/registry"
)

// Authorizer decides about identities. It is safe for concurrent use.
type Authorizer interface {
	// Allowed tells if identity is let in. An error means that it cannot be found out.
	Allowed(identity string) (bool, error)
}

// kinds are the objects that can be defined.
var kinds = map[string]func(blockdev.Options) (Authorizer, error){
	"authz-simple":    newSimple,
	"authz-list":      newList,
	"authz-list-file": newListFile,
}

// Define reads an object's options, "qom-type" among them, and makes it known under its id.
func Define(o blockdev.Options) error {
	o = o.Clone()
	kind, _ := o.Take("qom-type")
	id, _ := o.Take("id")
	build, ok := kinds[kind]
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "object", id, "invalid object type: %s", kind)
	}
	a, err := build(o)
	if err != nil {
		return err
	}
	return registry.Add(id, a)
}

// Lookup finds what was defined as id; ErrNotFound.
func Lookup(id string) (Authorizer, error) {
	a, ok := registry.Lookup(id).(Authorizer)
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "authz", id, "No such authorization object '%s'", id)
	}
	return a, nil
}

// unexpected refuses options that are left over.
func unexpected(o blockdev.Options) error {
	for _, k := range o.Keys() {
		return blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter '%s' is unexpected", k)
	}
	return nil
}

// simple lets one identity in.
type simple string

func newSimple(o blockdev.Options) (Authorizer, error) {
	identity, ok := o.Take("identity")
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter 'identity' is missing")
	}
	return simple(identity), unexpected(o)
}

func (s simple) Allowed(identity string) (bool, error) { return identity == string(s), nil }

// list is an ordered list of rules; the first that matches decides, and otherwise the policy.
type list struct {
	allow bool
	rules []rule
}

type rule struct {
	match string
	allow bool
	glob  bool // match has *, ? and [...]
}

// maxRules bounds a list; each rule is compared with each identity.
const maxRules = 4096

func newList(o blockdev.Options) (Authorizer, error) {
	l := &list{}
	var err error
	if l.allow, err = takeAllow(o, "policy", "deny"); err != nil {
		return nil, err
	}
	if _, ok := o["rules"]; ok {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Invalid parameter type for 'rules', expected: array")
	}
	rules := o.Sub("rules")
	for i := 0; len(rules) > 0; i++ {
		at := strconv.Itoa(i)
		options := rules.Sub(at)
		switch {
		case len(options) == 0:
			return nil, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter 'rules.%d' missing", i)
		case i == maxRules:
			return nil, blockdev.Errorf(blockdev.ErrLimit, "object", "", "more than %d rules", maxRules)
		}
		r, err := newRule(options, "rules."+at)
		if err != nil {
			return nil, err
		}
		l.rules = append(l.rules, r)
	}
	return l, unexpected(o)
}

// newRule reads a rule, whose name in the options is where.
func newRule(o blockdev.Options, where string) (r rule, err error) {
	var ok bool
	if r.match, ok = o.Take("match"); !ok {
		return r, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter '%s.match' is missing", where)
	}
	if _, ok := o["policy"]; !ok {
		return r, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter '%s.policy' is missing", where)
	}
	if r.allow, err = takeAllow(o, "policy", ""); err != nil {
		return r, err
	}
	format, _ := o.Take("format")
	switch format {
	case "", "exact":
		return r, unexpected(o)
	case "glob":
		r.glob = true
		if _, err := path.Match(globPattern(r.match), ""); err != nil {
			return r, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "'%s' is no pattern", r.match)
		}
		return r, unexpected(o)
	}
	return r, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter 'format' does not accept value '%s'", format)
}

func takeAllow(o blockdev.Options, key, otherwise string) (bool, error) {
	word, ok := o.Take(key)
	if !ok {
		word = otherwise
	}
	if word != "allow" && word != "deny" {
		return false, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "Parameter '%s' does not accept value '%s'", key, word)
	}
	return word == "allow", nil
}

func (l *list) Allowed(identity string) (bool, error) {
	for _, r := range l.rules {
		if r.matches(identity) {
			return r.allow, nil
		}
	}
	return l.allow, nil
}

func (r *rule) matches(identity string) bool {
	if !r.glob {
		return identity == r.match
	}
	ok, err := path.Match(globPattern(r.match), hideSlashes(identity))
	return ok && err == nil
}

// hideSlashes: in a list a slash matches * and ? as any other character does.
func hideSlashes(s string) string { return strings.ReplaceAll(s, "/", "\x00") }

// globPattern makes a pattern of fnmatch(3) one of package path, which has "[^" where that has
// "[!".
func globPattern(s string) string {
	b := []byte(hideSlashes(s))
	inClass := false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\':
			i++
		case inClass:
			inClass = b[i] != ']'
		case b[i] == '[':
			inClass = true
			if i+1 < len(b) && b[i+1] == '!' {
				b[i+1] = '^'
			}
		}
	}
	return string(b)
}
