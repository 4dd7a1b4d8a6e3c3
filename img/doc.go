// Package img is what qemu-img does, as library calls: each takes a context and options
// and returns a struct; text and JSON as QEMU prints them are renderings of that struct.
//
//	Create    a new image               ReadInfo  what an image says of itself
//	Convert   images into another       Check     is its metadata sound
//	Resize    a new virtual size        Map       where its contents lie
//	Snapshots and CreateSnapshot,       Compare   do two images hold the same
//	ApplySnapshot, DeleteSnapshot       Commit    into the backing file
//
// Every options struct names its image with a [Source] and embeds [Session]: the graph
// that the image is opened in, and the gate that decides which files an image may refer
// to. Without a gate no reference is followed, and an image that needs one does not open.
//
// Errors are [blockdev.Error] values; [blockdev.Message] gives the sentence that qemu-img
// prints after its own name.
package img
