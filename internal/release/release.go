// Package release says which qmon this is, and which QEMU it behaves like.
package release

import "runtime/debug"

// QEMU is the release whose behaviour is followed.
const QEMU = "7.2.22"

// Version is qmon's own, from the build.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
