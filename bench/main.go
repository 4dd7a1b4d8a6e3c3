// Command bench compares qmon with QEMU's tools on this machine, in one run, and prints
// ratios: below 1.0 qmon needs less.
//
//	go run ./bench [-rounds N] [-size MIB] [-only REGEXP]
//
// Each row runs both programs in turn, alternating, and compares the medians of wall time,
// processor time and peak memory.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// row is one comparison. ours and theirs run the work once and measure it.
type row struct {
	name         string
	ours, theirs func() (sample, error)
}

// bench is one run of the program.
type bench struct {
	dir  string // scratch
	qmon string // the built binary
	size int64  // bytes of data in the conversion rows
}

func main() {
	rounds := flag.Int("rounds", 3, "how often each row is measured")
	size := flag.Int64("size", 512, "MiB of data to convert and of RAM to save")
	only := flag.String("only", "", "rows to run, a regular expression")
	flag.Parse()
	if err := run(*rounds, *size<<20, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, size int64, only string) (err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "qmon-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{dir: dir, qmon: filepath.Join(dir, "qmon"), size: size}
	build := exec.Command("go", "build", "-o", b.qmon, "github.com/qmon/qmon/cmd/qmon")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // a static binary, as it is released
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %v\n%s", err, out)
	}
	b.printMachine()
	fmt.Printf("%-38s %10s %10s %7s %7s %7s\n", "", "qmon", "QEMU", "wall", "cpu", "memory")
	for _, r := range slices.Concat(b.convertRows(), b.imageRows(), b.nbdRows(), b.sheepdogRows(), b.formatRows(), b.machineRows()) {
		if !match.MatchString(r.name) {
			continue
		}
		ours, theirs, err := measure(r, rounds)
		if err != nil {
			fmt.Printf("%-38s %v\n", r.name, err)
			continue
		}
		fmt.Printf("%-38s %9.3fs %9.3fs %7.2f %7.2f %7.2f\n", r.name, ours.wall.Seconds(), theirs.wall.Seconds(),
			ratio(ours.wall, theirs.wall), ratio(ours.cpu, theirs.cpu), ratio(ours.memory, theirs.memory))
	}
	return b.printHart()
}

// printMachine says where and with what the numbers were made.
func (b *bench) printMachine() {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(text), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	fmt.Printf("%s, %d cores, %s\n", model, runtime.NumCPU(), runtime.Version())
	for _, program := range []string{"qemu-img", "qemu-system-riscv64"} {
		out, err := exec.Command(program, "--version").Output()
		if err != nil {
			fmt.Printf("%s: %v\n", program, err)
			continue
		}
		first, _, _ := strings.Cut(string(out), "\n")
		fmt.Println(first)
	}
	fmt.Println()
}

// printHart runs the hart's own Go benchmark.
func (b *bench) printHart() error {
	out, err := exec.Command("go", "test", "-run", "^$", "-bench", "Hart", "github.com/qmon/qmon/vm/riscv").Output()
	if err != nil {
		return fmt.Errorf("hart benchmark: %w", err)
	}
	fmt.Println()
	for _, line := range strings.Split(string(out), "\n") {
		if strings.HasPrefix(line, "Benchmark") {
			fmt.Println(line)
		}
	}
	return nil
}
