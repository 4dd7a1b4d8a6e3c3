package vmstate_test

import (
	"encoding/json"
	"fmt"

	"github.com/qmon/qmon/savevm/vmstate"
)

// The state of a timer device: a compare register for each of two processors, an enable
// bit that takes four bytes in the stream, and a subsection for what only some have.
func Example() {
	type watchdog struct {
		Ticks uint16 `vmstate:"ticks"`
	}
	type timer struct {
		Compare  []uint32  `vmstate:"compare"`
		Enabled  bool      `vmstate:"enabled,uint32"`
		Watchdog *watchdog `vmstate:"timer/watchdog,subsection=1"`
	}
	state := &timer{Compare: []uint32{100, 200}, Enabled: true}

	body, err := vmstate.Marshal("timer", 1, state)
	fmt.Printf("%x %v\n", body, err)

	description, err := vmstate.Describe("timer", 1, state)
	text, _ := json.Marshal(description.Fields)
	fmt.Println(string(text), err)

	back := &timer{Compare: make([]uint32, 2)} // as State.New makes it
	err = vmstate.Unmarshal(body, "timer", 1, back)
	fmt.Println(back.Compare, back.Enabled, back.Watchdog == nil, err)
	// Output:
	// 00000064000000c800000001 <nil>
	// [{"name":"compare","array_len":2,"type":"uint32","size":4},{"name":"enabled","type":"uint32","size":4}] <nil>
	// [100 200] true true <nil>
}
