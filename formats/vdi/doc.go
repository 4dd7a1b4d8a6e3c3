// Package vdi reads and writes VirtualBox's disk images, version 1.1.
//
//	0           512                     data offset
//	| header    | block map: 1 - 0 - ... | block 0 | block 1 | ...
//	                         |             ^
//	                         +-- block 2 --+         1 MiB each
//
// The map has for each MiB of the disk the number of the block that holds it: 4 bytes, or
// one of two values for those that no block holds and which read as zeroes. Numbers are
// little-endian. In a static image all blocks are there from the beginning.
//
// The header counts the blocks, and VirtualBox puts the next one where the count says. So
// the count reaches the file before the map refers to a new block, and is never too small.
//
// There is no specification; the layout is that of VirtualBox's forum post "All about
// VDIs" and of images that VirtualBox and qemu-img made.
package vdi
