package vhdx

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// guid is an identifier as it is stored: the first three groups of its usual notation in
// little-endian order, the others as they are read.
type guid [16]byte

// guidOrder says which byte of the notation is stored where.
var guidOrder = [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}

// parseGUID reads the usual notation.
func parseGUID(s string) (g guid, ok bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(g) {
		return guid{}, false
	}
	for i, from := range guidOrder {
		g[i] = b[from]
	}
	return g, true
}

// mustGUID parses one of the constants below.
func mustGUID(s string) guid {
	g, ok := parseGUID(s)
	if !ok {
		panic("vhdx: bad GUID " + s)
	}
	return g
}

// String is the usual notation, in braces.
func (g guid) String() string {
	var b guid
	for i, to := range guidOrder {
		b[to] = g[i]
	}
	return fmt.Sprintf("{%x-%x-%x-%x-%x}", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func newGUID() guid {
	var g guid
	// Read never fails: the program ends where the system has no randomness.
	_, _ = rand.Read(g[:])
	g[7] = g[7]&0x0f | 0x40 // version 4
	g[8] = g[8]&0x3f | 0x80
	return g
}

func (g guid) isZero() bool { return g == guid{} }

var (
	// Sections 2.2.3.2.1 and following: regions.
	regionBAT      = mustGUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
	regionMetadata = mustGUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")

	// Sections 2.6.2.1 and following: metadata items.
	itemFileParameters     = mustGUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
	itemVirtualDiskSize    = mustGUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
	itemVirtualDiskID      = mustGUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
	itemLogicalSectorSize  = mustGUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
	itemPhysicalSectorSize = mustGUID("CDA348C7-445D-4471-9CC9-E9885251C556")
	itemParentLocator      = mustGUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
)
