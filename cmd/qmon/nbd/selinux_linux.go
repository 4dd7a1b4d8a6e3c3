package nbd

import (
	"fmt"
	"os"
	"runtime"

	"github.com/qmon/qmon/blockdev"
)

// socketContext is where a thread says which SELinux context the sockets that it makes get
// (SELinux's attribute "sockcreate").
const socketContext = "/proc/thread-self/attr/sockcreate"

// labelled does what makes a socket so that it gets the label.
func labelled(label string, do func() error) error {
	if label == "" {
		return do()
	}
	runtime.LockOSThread() // the attribute is the thread's
	defer runtime.UnlockOSThread()
	if err := os.WriteFile(socketContext, []byte(label), 0); err != nil {
		return &blockdev.Error{Op: "listen", Offset: blockdev.NoOffset,
			Text: fmt.Sprintf("Cannot set SELinux socket create context to %s", label), Err: pathCause(err)}
	}
	defer func() { _ = os.WriteFile(socketContext, nil, 0) }() // the thread makes other sockets later
	return do()
}
