package protocol

import "fmt"

// Result is how a request ended. All but Success are errors.
type Result uint32

// The results that clients meet.
const (
	Success       Result = 0x00
	Unknown       Result = 0x01
	NoObject      Result = 0x02
	IOError       Result = 0x03
	VDIExists     Result = 0x04
	InvalidParams Result = 0x05
	SystemError   Result = 0x06
	VDILocked     Result = 0x07
	NoVDI         Result = 0x08
	NoBaseVDI     Result = 0x09
	VDIRead       Result = 0x0a
	VDIWrite      Result = 0x0b
	BaseVDIRead   Result = 0x0c
	BaseVDIWrite  Result = 0x0d
	NoTag         Result = 0x0e
	Startup       Result = 0x0f
	VDINotLocked  Result = 0x10
	Shutdown      Result = 0x11
	NoMemory      Result = 0x12
	FullVDI       Result = 0x13
	VerMismatch   Result = 0x14
	NoSpace       Result = 0x15
	WaitForFormat Result = 0x16
	WaitForJoin   Result = 0x17
	JoinFailed    Result = 0x18
	Halt          Result = 0x19
	ReadOnly      Result = 0x1a
	Invalidated   Result = 0x1d
	Killed        Result = 0x8d
)

var resultTexts = map[Result]string{
	Success:       "success",
	Unknown:       "unknown error of the Sheepdog server",
	NoObject:      "object not found",
	IOError:       "I/O error of the Sheepdog server",
	VDIExists:     "a VDI of that name exists already",
	InvalidParams: "invalid parameters",
	SystemError:   "system error of the Sheepdog server",
	VDILocked:     "VDI is locked",
	NoVDI:         "no such VDI",
	NoBaseVDI:     "no such base VDI",
	VDIRead:       "the server cannot read the VDI",
	VDIWrite:      "the server cannot write the VDI: are there enough nodes?",
	BaseVDIRead:   "the server cannot read the base VDI",
	BaseVDIWrite:  "the server cannot write the base VDI",
	NoTag:         "the VDI has no such snapshot",
	Startup:       "the Sheepdog cluster is starting",
	VDINotLocked:  "VDI is not locked",
	Shutdown:      "the Sheepdog cluster is shutting down",
	NoMemory:      "the Sheepdog server is out of memory",
	FullVDI:       "the Sheepdog cluster has no VDI id left",
	VerMismatch:   "the Sheepdog server speaks another version of the protocol",
	NoSpace:       "the Sheepdog cluster has no space left",
	WaitForFormat: "the Sheepdog cluster was never formatted",
	WaitForJoin:   "the Sheepdog cluster waits for its other nodes to join",
	JoinFailed:    "the Sheepdog server could not join its cluster",
	Halt:          "the Sheepdog cluster has too few nodes left to write",
	ReadOnly:      "object is read-only",
	Invalidated:   "the inode was changed by another client",
	Killed:        "the Sheepdog server was taken out of its cluster",
}

// Error makes a Result an error. Results that only daemons use show their number.
func (r Result) Error() string {
	if s, ok := resultTexts[r]; ok {
		return s
	}
	return fmt.Sprintf("Sheepdog server error %#02x", uint32(r))
}

// NotServing tells if a daemon, for now or for good, carries out no requests at all.
// Another of its cluster may.
func (r Result) NotServing() bool { return r == Killed || r == Shutdown || r == WaitForJoin }

// Err is r as an error, nil for Success.
func (r Result) Err() error {
	if r == Success {
		return nil
	}
	return r
}
