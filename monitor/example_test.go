package monitor_test

import (
	"context"
	"fmt"
	"os"

	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/vm"
)

// A machine with no processor is enough for a console; one command is the program's own.
func Example() {
	machine := vm.New(vm.Config{Name: "toy"})
	console := monitor.New(monitor.Config{Machine: machine})
	console.AddCommand(monitor.Command{
		Name: "greet", Args: "whom:s?", Help: "say hello",
		Run: func(_ context.Context, s *monitor.Session, a monitor.Args) error {
			if !a.Has("whom") {
				return fmt.Errorf("nobody is there")
			}
			s.Printf("Hello, %s.\n", a.String("whom"))
			return nil
		},
	})

	ctx, cancel := context.WithCancel(context.Background())
	go machine.Run(ctx)
	defer cancel()

	for _, line := range []string{"info status", "cont", "info status", `greet "whole world"`, "greet"} {
		console.Execute(ctx, os.Stdout, line)
	}
	// Output:
	// VM status: paused (prelaunch)
	// VM status: running
	// Hello, whole world.
	// Error: nobody is there
}
