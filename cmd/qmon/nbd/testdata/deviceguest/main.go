// Command deviceguest is the first process of a Linux machine that has the kernel's NBD
// client: it connects, uses and disconnects /dev/nbdN, says what went wrong, and turns the
// machine off.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the host has put into /disk.qcow2.
const (
	patternAt = 1 << 20
	size      = 8 << 20
)

var pattern = bytes.Repeat([]byte{0x5a}, 4096)

func main() {
	if err := run(); err != nil {
		fmt.Println("guest: FAIL:", err)
	} else {
		fmt.Println("guest: PASS")
	}
	time.Sleep(200 * time.Millisecond) // for the serial port
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	for _, m := range [][2]string{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := errors.Join(os.MkdirAll(m[1], 0o755), unix.Mount(m[0], m[1], m[0], 0, "")); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	fmt.Println("guest: without the module:", say("/qmon", "nbd", "-d", "/dev/null"))
	module, err := os.Open("/nbd.ko")
	if err != nil {
		return err
	}
	if err := unix.FinitModule(int(module.Fd()), "", 0); err != nil {
		return fmt.Errorf("nbd.ko: %w", err)
	}
	if err := connectAndDisconnect(); err != nil {
		return err
	}
	if err := nbdClient(); err != nil {
		return err
	}
	return nil
}

// connectAndDisconnect is -c, which goes to the background by itself, and -d.
func connectAndDisconnect() error {
	if err := command("/qmon", "nbd", "-c", "/dev/nbd0", "-f", "qcow2", "--pid-file", "/pid", "/disk.qcow2"); err != nil {
		return err
	}
	if err := use("nbd0"); err != nil {
		return err
	}
	fmt.Println("guest: twice:", say("/qmon", "nbd", "-v", "-c", "/dev/nbd0", "-f", "raw", "/other.raw"))
	if out := say("/qmon", "nbd", "-d", "/dev/nbd0"); out != "/dev/nbd0 disconnected" {
		return fmt.Errorf("-d says %q", out)
	}
	text, err := os.ReadFile("/pid")
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := until("the server is gone", func() bool { return ended(pid) }); err != nil {
		return err
	}
	return command("/qmon", "io", "-r", "-f", "qcow2", "-c", "read -P 0xa5 2M 4k", "/disk.qcow2")
}

// ended reaps the children of init, which servers in the background are.
func ended(pid int) bool {
	for {
		got, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if got == pid || err != nil {
			return true
		}
		if got == 0 {
			return false
		}
	}
}

// nbdClient lets the client of the NBD project connect the kernel to our server.
func nbdClient() error {
	server := exec.Command("/qmon", "nbd", "-t", "-e", "4", "-k", "/s", "-f", "qcow2", "-x", "disk", "/disk.qcow2")
	server.Stderr = os.Stdout
	if err := server.Start(); err != nil {
		return err
	}
	defer func() { _ = server.Process.Kill() }()
	if err := until("the server listens", func() bool { _, err := os.Stat("/s"); return err == nil }); err != nil {
		return err
	}
	if err := command("/nbd-client", "-unix", "/s", "/dev/nbd1", "-N", "disk", "-C", "2"); err != nil {
		return err
	}
	if err := use("nbd1"); err != nil {
		return err
	}
	return command("/nbd-client", "-d", "/dev/nbd1")
}

// use checks size and contents of a device, and writes to it.
func use(device string) error {
	sectors := func() string {
		text, _ := os.ReadFile("/sys/block/" + device + "/size")
		return strings.TrimSpace(string(text))
	}
	if err := until(device+" has its size", func() bool { return sectors() == strconv.Itoa(size/512) }); err != nil {
		return fmt.Errorf("%w: %s sectors", err, sectors())
	}
	f, err := os.OpenFile("/dev/"+device, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		return err
	}
	got := make([]byte, len(pattern))
	if _, err := f.ReadAt(got, patternAt); err != nil || !bytes.Equal(got, pattern) {
		return fmt.Errorf("%s reads something else: %w", device, err)
	}
	written := bytes.Repeat([]byte{0xa5}, 4096)
	if _, err := f.WriteAt(written, 2<<20); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func until(what string, done func() bool) error {
	for range 500 {
		if done() {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("not within 10 s: %s", what)
}

// say is what a command prints.
func say(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

func command(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", program, args, err, out)
	}
	return nil
}
