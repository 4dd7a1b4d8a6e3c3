// Package img is what qemu-img does, as library calls: each takes a context and options
// and returns a struct; text and JSON as QEMU prints them are renderings of that struct.
package img
