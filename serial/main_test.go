package serial

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childMode in the environment makes the test program a program at a terminal instead.
const childMode = "QMON_SERIAL_CHILD"

// TestMain wants every goroutine of every device ended with its device.
func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		terminalProgram(mode)
		return
	}
	goleak.VerifyTestMain(m)
}

// terminalProgram shows what is typed at its standard input in brackets, until one of the
// keys comes that end it, each in another way.
func terminalProgram(mode string) {
	defer RestoreTerminals()
	c, err := Parse("serial0", mode)
	if err != nil {
		panic(err)
	}
	c.Mux = false
	d, err := Open(c)
	if err != nil {
		panic(err)
	}
	WatchSignals(nil)
	keys := make(chan byte, 100)
	d.Connect(keyReceiver(keys))
	d.Write([]byte("ready\n"))
	for key := range keys {
		switch key {
		case 'q': // in order
			d.Close()
			return
		case 'm':
			panic("in main")
		case 'g':
			go func() {
				defer RestoreOnPanic()
				panic("in a goroutine")
			}()
		default:
			d.Write([]byte{'[', key, ']'})
		}
	}
}

type keyReceiver chan byte

func (r keyReceiver) Receive(p []byte) int {
	for _, b := range p {
		if b == 'd' {
			panic("in the device's goroutine")
		}
		r <- b
	}
	return len(p)
}

func (r keyReceiver) Event(Event) {}
