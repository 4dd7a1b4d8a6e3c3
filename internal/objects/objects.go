// Package objects is --object of the tools: secrets, TLS credentials, lists of who may
// connect, and limits of disks. Options refer to them by ID.
//
//	--object secret,id=s0,file=/run/key
//	--object {"qom-type":"authz-list","id":"a","policy":"deny","rules":[...]}
package objects

import (
	"maps"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/authz"
	"github.com/qmon/qmon/blockdev/filter/throttle"
	"github.com/qmon/qmon/blockdev/secret"
	"github.com/qmon/qmon/blockdev/tlscreds"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/internal/registry"
)

// kinds are the types of objects; the function defines one.
var kinds = map[string]func(blockdev.Options) error{
	"secret":            secret.Define,
	"tls-creds-x509":    tlscreds.Define,
	throttle.ObjectType: throttle.Define,
	"authz-list":        authz.Define,
	"authz-list-file":   authz.Define,
	"authz-simple":      authz.Define,
}

// Help is the text that "help" in place of an object asks for. It is an error, as nothing is
// defined, for the program to print and end with.
type Help string

func (h Help) Error() string { return string(h) }

// help lists the types that can be defined.
func help() Help {
	return Help("List of user creatable objects:\n  " + strings.Join(slices.Sorted(maps.Keys(kinds)), "\n  ") + "\n")
}

// Set are the objects of one run of a program. They are known to all of the process by then.
type Set struct{ ids []string }

// Define makes the object that text describes, or returns a [Help].
func (s *Set) Define(text string) error {
	id, err := define(text)
	if err == nil {
		s.ids = append(s.ids, id)
	}
	return err
}

// Remove forgets the objects.
func (s *Set) Remove() {
	for _, id := range s.ids {
		registry.Remove(id)
	}
	s.ids = nil
}

// define makes an object and returns its ID.
func define(text string) (id string, err error) {
	if text == "help" || text == "?" {
		return "", help()
	}
	o, err := parse(text)
	if err != nil {
		return "", err
	}
	kind, ok := o["qom-type"]
	if !ok {
		return "", invalid("Parameter 'qom-type' is missing")
	}
	define, known := kinds[kind]
	if strings.HasPrefix(kind, "tls-creds-") {
		define, known = tlscreds.Define, true // which says what it thinks of the other ones
	}
	if !known {
		return "", invalid("Parameter 'qom-type' does not accept value '" + kind + "'")
	}
	id, ok = o["id"]
	if !ok {
		return "", invalid("Parameter 'id' is missing")
	}
	if err := qemuopts.CheckID(id); err != nil {
		return "", err
	}
	return id, define(o)
}

func parse(text string) (blockdev.Options, error) {
	if strings.HasPrefix(text, "{") {
		return blockdev.ParseJSONOptions(text)
	}
	o := blockdev.Options{}
	for _, p := range qemuopts.Parse(text, "qom-type") {
		o[p.Key] = p.Value
	}
	return o, nil
}

func invalid(text string) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "object", "", "%s", text)
}
