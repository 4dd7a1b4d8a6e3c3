package main

import (
	"fmt"
	"os/exec"
	"runtime/debug"
	"sort"
	"time"
)

// sample is what one run of a program took.
type sample struct {
	wall   time.Duration
	cpu    time.Duration
	memory int64 // peak resident set, bytes; 0 where the system does not tell
}

// command runs a program to its end and measures it.
func command(program string, args ...string) (sample, error) {
	// The peak memory of a process is no less than that of the one that started it.
	debug.FreeOSMemory()
	cmd := exec.Command(program, args...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	s := sample{wall: time.Since(start)}
	if err != nil {
		return s, fmt.Errorf("%s %q: %w\n%s", program, args, err, out)
	}
	s.addUsage(cmd)
	return s, nil
}

// addUsage fills in what the ended process used.
func (s *sample) addUsage(cmd *exec.Cmd) {
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	s.memory = peakMemory(cmd.ProcessState)
}

// measure runs both sides of a row in turn and returns their medians.
func measure(r row, rounds int) (ours, theirs sample, err error) {
	var a, b []sample
	for range rounds {
		for _, side := range []struct {
			run func() (sample, error)
			to  *[]sample
		}{{r.ours, &a}, {r.theirs, &b}} {
			s, err := side.run()
			if err != nil {
				return sample{}, sample{}, err
			}
			*side.to = append(*side.to, s)
		}
	}
	return median(a), median(b), nil
}

// median takes each quantity's median by itself.
func median(all []sample) sample {
	pick := func(value func(sample) int64) int64 {
		v := make([]int64, len(all))
		for i, s := range all {
			v[i] = value(s)
		}
		sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
		return v[len(v)/2]
	}
	return sample{
		wall:   time.Duration(pick(func(s sample) int64 { return int64(s.wall) })),
		cpu:    time.Duration(pick(func(s sample) int64 { return int64(s.cpu) })),
		memory: pick(func(s sample) int64 { return s.memory }),
	}
}

func ratio[T ~int64](ours, theirs T) float64 {
	if theirs == 0 {
		return 0
	}
	return float64(ours) / float64(theirs)
}
