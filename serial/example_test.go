package serial_test

import (
	"fmt"

	"github.com/qmon/qmon/serial"
)

// printer is a front end that shows what it hears.
type printer struct{ name string }

func (p printer) Receive(b []byte) int {
	fmt.Printf("%s got %q\n", p.name, b)
	return len(b)
}

func (p printer) Event(serial.Event) {}

// Two front ends share a line of which the log is kept in memory.
func Example() {
	config, err := serial.ParseChardev("ringbuf,id=serial0,size=256,mux=on")
	if err != nil {
		fmt.Println(err)
		return
	}
	var set serial.Set
	defer set.Close()
	dev, err := set.Open(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"guest", "monitor"} {
		port, err := serial.Attach(dev)
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := port.Connect(printer{name}); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Fprintf(port, "%s was here\n", name)
	}
	for _, d := range set.All() {
		fmt.Println(d.ID(), d.Filename())
		if ring, ok := d.(*serial.RingBuf); ok {
			text := make([]byte, 256)
			fmt.Print(string(text[:ring.Take(text)]))
		}
	}
	// Output:
	// serial0 mux
	// serial0-base ringbuf
	// guest was here
	// monitor was here
}
