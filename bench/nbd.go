package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// serverDeadline is how long a server may take until it listens.
const serverDeadline = 10 * time.Second

// nbdRows compare qmon nbd with qemu-nbd and nbdkit's file plugin, clients being libnbd's
// nbdcopy and fio, and our client with QEMU's. Rows with a server show the server's processor
// time and memory.
func (b *bench) nbdRows() []row {
	raw := filepath.Join(b.dir, "data.raw")
	qcow2 := filepath.Join(b.dir, "data.qcow2")
	socket := filepath.Join(b.dir, "nbd.sock")
	uri := "nbd+unix:///?socket=" + socket
	qemuNBD := func(image, format string) []string {
		return []string{"-t", "-e", "0", "-k", socket, "-f", format, image}
	}
	var rows []row
	// served adds a row for each program that can serve the image.
	served := func(name, image, format string, client ...string) {
		side := func(argv ...string) func() (sample, error) {
			return func() (sample, error) {
				if err := b.makeImages(); err != nil {
					return sample{}, err
				}
				return withServer(socket, argv, client)
			}
		}
		ours := side(append([]string{b.qmon, "nbd"}, qemuNBD(image, format)...)...)
		rows = append(rows, row{name, ours, side(append([]string{"qemu-nbd"}, qemuNBD(image, format)...)...)})
		if format == "raw" {
			rows = append(rows, row{name + ", nbdkit", ours, side("nbdkit", "-f", "-U", socket, "file", image)})
		}
	}
	served("nbdcopy from raw", raw, "raw", "nbdcopy", uri, "null:")
	served("nbdcopy from qcow2", qcow2, "qcow2", "nbdcopy", uri, "null:")
	served("nbdcopy to raw", raw, "raw", "nbdcopy", raw, uri)
	served("nbdcopy to qcow2", qcow2, "qcow2", "nbdcopy", raw, uri)
	for _, image := range [][2]string{{raw, "raw"}, {qcow2, "qcow2"}} {
		for _, kind := range []string{"randread", "randwrite"} {
			for _, depth := range []int{1, 16, 64} {
				name := fmt.Sprintf("fio %s 4k depth %d %s", kind, depth, image[1])
				served(name, image[0], image[1], "fio", "--name=x", "--ioengine=nbd", "--uri="+uri,
					"--rw="+kind, "--bs=4k", "--number_ios=40000", "--size="+strconv.FormatInt(b.size, 10),
					"--iodepth="+strconv.Itoa(depth), "--randseed=1", "--output="+os.DevNull)
			}
		}
	}
	convert := func(program ...string) func() (sample, error) {
		return func() (sample, error) {
			if err := b.makeImages(); err != nil {
				return sample{}, err
			}
			stop, err := startServer(socket, "qemu-nbd", "-t", "-r", "-e", "0", "-k", socket, "-f", "raw", raw)
			if err != nil {
				return sample{}, err
			}
			argv := append(program, "convert", "-f", "raw", "-O", "raw", uri, filepath.Join(b.dir, "out"))
			s, err := command(argv[0], argv[1:]...)
			_, serr := stop()
			return s, errors.Join(err, serr)
		}
	}
	return append(rows, row{"convert from qemu-nbd", convert(b.qmon, "img"), convert("qemu-img")})
}

// withServer measures a client's time, and what the server used.
func withServer(socket string, argv, client []string) (sample, error) {
	stop, err := startServer(socket, argv...)
	if err != nil {
		return sample{}, err
	}
	s, err := command(client[0], client[1:]...)
	used, serr := stop()
	used.wall = s.wall
	return used, errors.Join(err, serr)
}

// startServer waits until the server listens; stop ends it and tells what it used.
func startServer(socket string, argv ...string) (stop func() (sample, error), err error) {
	if err := os.RemoveAll(socket); err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() (sample, error) {
		memory := highWater(cmd.Process.Pid)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return sample{}, err
		}
		var s sample
		err := cmd.Wait()
		s.addUsage(cmd)
		if memory > 0 {
			s.memory = memory
		}
		return s, err
	}
	for start := time.Now(); time.Since(start) < serverDeadline; time.Sleep(time.Millisecond) {
		if nc, err := net.Dial("unix", socket); err == nil {
			return stop, nc.Close()
		}
	}
	_, err = stop()
	return nil, errors.Join(fmt.Errorf("%q does not listen", argv), err)
}

// highWater is a running process's peak memory, which its exit status would give as no less
// than this program's. 0 where the system does not tell.
func highWater(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(text), "\n") {
		var kib int64
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 && err == nil {
			return kib << 10
		}
	}
	return 0
}
