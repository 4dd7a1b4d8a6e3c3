package nbd

import (
	"errors"
	"os"
)

// childMark is in the environment of the process that --fork starts.
const childMark = "QMON_NBD_FORKED"

// errReported ends a parent whose child has said what is wrong.
var errReported = errors.New("reported")

func isChild() bool { return os.Getenv(childMark) != "" }
