// Package all makes every protocol and filter driver known to the block layer. Import it
// for its side effects.
package all

import (
	_ "github.com/qmon/qmon/blockdev/file"               // local files and devices
	_ "github.com/qmon/qmon/blockdev/filter/blkdebug"    // makes requests fail or wait
	_ "github.com/qmon/qmon/blockdev/filter/blkverify"   // compares an image with a raw file
	_ "github.com/qmon/qmon/blockdev/filter/compress"    // compresses what is written
	_ "github.com/qmon/qmon/blockdev/filter/copyonread"  // keeps what is read in an image
	_ "github.com/qmon/qmon/blockdev/filter/preallocate" // makes a file grow in large steps
	_ "github.com/qmon/qmon/blockdev/filter/quorum"      // images that vote
	_ "github.com/qmon/qmon/blockdev/filter/throttle"    // makes requests wait
	_ "github.com/qmon/qmon/blockdev/hostdev"            // drives of the host
	_ "github.com/qmon/qmon/blockdev/nbd"                // exports of NBD servers
	_ "github.com/qmon/qmon/blockdev/null"               // disks that hold nothing
	_ "github.com/qmon/qmon/blockdev/sheepdog"           // disks on a Sheepdog cluster
	_ "github.com/qmon/qmon/blockdev/vvfat"              // directories seen as disks
)
