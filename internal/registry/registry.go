// Package registry names the objects that options refer to: secrets, credentials, lists of
// who may connect, limits. Whatever they are, they share one set of IDs.
package registry

import (
	"sync"

	"github.com/qmon/qmon/blockdev"
)

var objects = struct {
	sync.RWMutex
	m map[string]any
}{m: map[string]any{}}

// Add makes an object known to the whole program. It fails with ErrExists if the ID is taken.
func Add(id string, object any) error {
	objects.Lock()
	defer objects.Unlock()
	if _, ok := objects.m[id]; ok {
		return blockdev.Errorf(blockdev.ErrExists, "object", id, "attempt to add duplicate property '%s' to object (type 'container')", id)
	}
	objects.m[id] = object
	return nil
}

// Lookup finds what has the ID; nil if nothing has.
func Lookup(id string) any {
	objects.RLock()
	defer objects.RUnlock()
	return objects.m[id]
}

// Remove forgets an object, or does nothing if there is none. Who uses it keeps it.
func Remove(id string) {
	objects.Lock()
	defer objects.Unlock()
	delete(objects.m, id)
}
