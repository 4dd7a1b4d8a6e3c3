package nbd

import (
	"fmt"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

func (t *tool) help() string {
	var names []string
	for _, d := range blockdev.Drivers() {
		names = append(names, d.Name)
	}
	return fmt.Sprintf("Usage: %s [OPTIONS] FILE\n  or:  %s -L [OPTIONS]\n%s\nSupported formats: %s\n",
		t.prog, t.prog, helpText, strings.Join(names, " "))
}

const helpText = `Serves an image to NBD clients, or lists what another server has.

 -h, --help                show this text
 -V, --version             show the version

Where and to whom:
 -p, --port=PORT           TCP port to listen on (10809)
 -b, --bind=ADDRESS        address to listen on (0.0.0.0)
 -k, --socket=PATH         listen on a unix socket instead
 -e, --shared=NUM          clients at a time (1), 0 for any number
 -t, --persistent          go on when the last client has left
 -x, --export-name=NAME    name of the export ("")
 -D, --description=TEXT    text about the export, for lists
 -v, --verbose             tell why clients were sent away

What of the image:
 -f, --format=FORMAT       its format; found by looking at it where it is not given
 -r, --read-only           no writing
 -s, --snapshot            write to a temporary file that goes with the program
 -l, --load-snapshot=SNAP  an internal snapshot: an ID or a name, or
                           snapshot.id=ID,snapshot.name=NAME
 -o, --offset=OFFSET       from that byte on
 -A, --allocation-depth    let clients ask which image of a chain has the bytes
     --restrict DIR        open no file that FILE refers to outside of DIR
     --image-opts          FILE is a list of options: driver=qcow2,file.filename=a.qcow2

How:
 -n, --nocache             go around the host's cache, as --cache=none
     --cache=MODE          none, writeback (default), writethrough, directsync, unsafe
     --aio=MODE            threads, native or io_uring; accepted, without effect
     --discard=MODE        unmap (pass discards on) or ignore (default)
     --detect-zeroes=MODE  off, on or unmap
     --object=TYPE,id=ID   define TLS credentials: tls-creds-x509,id=ID,endpoint=server,dir=DIR
     --tls-creds=ID        require TLS with those
     --fork                return when clients can connect, and go on in the background
     --pid-file=PATH       write the number of the process there

Another server:
 -L, --list                list its exports; with -b, -p or -k where it is
`
