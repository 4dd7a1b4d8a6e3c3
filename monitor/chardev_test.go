package monitor_test

import (
	"testing"

	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

func TestRingBuffer(t *testing.T) {
	ring, err := serial.Open(serial.Config{Kind: serial.KindRingBuf, ID: "rb", Size: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	mon := monitor.New(monitor.Config{
		Machine:  startMachine(t, vm.Config{}),
		Chardevs: func() []serial.Chardev { return []serial.Chardev{newWire(), ring} },
	})
	defer mon.Close()
	for _, c := range []struct{ line, want string }{
		{"info chardev", "wire: filename=test\nrb: filename=ringbuf\n"},
		{"ringbuf_write rb hello", ""},
		{`ringbuf_write rb "a b\n"`, ""},
		{"ringbuf_read rb 3", "hel\n"},
		{"ringbuf_read rb 100", "loa b\n\n"},
		{"ringbuf_read rb 100", "\n"},
		{`ringbuf_write rb "x\ry\\z` + "\x7f\xff\t" + `"`, ""},
		{"ringbuf_read rb 0xffffffff", `x\u000Dy\\z\u007F` + "\ufffd\t\n"},
		{"ringbuf_read rb 0", "Error: size must be greater than zero\n"},
		{"ringbuf_read nosuch 3", "Error: Device 'nosuch' not found\n"},
		{"ringbuf_write wire x", "Error: wire is not a ringbuf device\n"},
		{"ringbuf_write rb", "ringbuf_write: string expected\nTry \"help ringbuf_write\" for more information\n"},
	} {
		if got := run(t, mon, c.line); got != c.want {
			t.Errorf("%q gave %q, want %q", c.line, got, c.want)
		}
	}
}
