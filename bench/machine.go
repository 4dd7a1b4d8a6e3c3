package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/qmon/qmon/internal/linuxguest"
)

const (
	openSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"
	uBoot   = "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf"
	// patience bounds the wait for a prompt.
	patience = 5 * time.Minute
)

// machineRows compare the emulators.
func (b *bench) machineRows() []row {
	both := func(name string, run func(program string) (sample, error)) row {
		return row{name,
			func() (sample, error) { return run(b.qmon) },
			func() (sample, error) { return run("qemu-system-riscv64") },
		}
	}
	return []row{
		both("OpenSBI and U-Boot to the prompt", b.boot),
		both("Linux to its first program, off", b.linux("true")),
		both("Linux, SHA-256 of 64 MiB", b.linux("dd if=/dev/zero bs=1M count=64 | sha256sum")),
		both("Linux, 2000 processes", b.linux("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); /bin/true; done")),
		both("savevm of filled RAM", func(p string) (sample, error) { return b.snapshot(p, "savevm") }),
		both("loadvm of filled RAM", func(p string) (sample, error) { return b.snapshot(p, "loadvm") }),
	}
}

// boot measures until U-Boot's prompt.
func (b *bench) boot(program string) (sample, error) {
	p, err := start(program, "-machine", "virt", "-m", "256", "-nodefaults", "-display", "none",
		"-serial", "stdio", "-bios", openSBI, "-kernel", uBoot)
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	s := sample{}
	err = p.expect("Hit any key to stop autoboot")
	if err == nil {
		_, err = io.WriteString(p.in, " ")
	}
	if err == nil {
		err = p.expect("=> ")
	}
	s.wall = time.Since(begin)
	p.end(&s)
	return s, err
}

// linux measures a boot of the Linux guest with commands for its shell, until it is off.
func (b *bench) linux(commands string) func(program string) (sample, error) {
	return func(program string) (sample, error) {
		guest, err := linuxguest.Find()
		if err != nil {
			return sample{}, err
		}
		return command(program, "-machine", "virt", "-m", "128", "-nographic", "-bios", openSBI,
			"-kernel", guest.Image, "-initrd", guest.Initramfs, "-append", `console=ttyS0 RUN="`+commands+`"`)
	}
}

// snapshot measures one monitor command on a machine with b.size of random RAM.
func (b *bench) snapshot(program, command string) (sample, error) {
	disk := filepath.Join(b.dir, filepath.Base(program)+".qcow2")
	fill := filepath.Join(b.dir, "fill.bin")
	// The firmware's tree and the reset vector need a little of the RAM.
	if err := writeRandomOnce(fill, b.size-16<<20); err != nil {
		return sample{}, err
	}
	if command == "savevm" {
		if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", disk, "64M").CombinedOutput(); err != nil {
			return sample{}, fmt.Errorf("%w: %s", err, out)
		}
	}
	p, err := start(program, "-machine", "virt", "-m", strconv.FormatInt(b.size>>20, 10), "-nodefaults", "-display", "none",
		"-bios", "none", "-kernel", fill, "-S", "-monitor", "stdio",
		"-drive", "file="+disk+",if=none,id=d0", "-device", "virtio-blk-device,drive=d0")
	if err != nil {
		return sample{}, err
	}
	s := sample{}
	if err = p.expect("(qemu) "); err == nil {
		begin := time.Now()
		if _, err = io.WriteString(p.in, command+" a\ninfo status\n"); err == nil {
			err = p.expect("VM status")
		}
		s.wall = time.Since(begin)
	}
	if err == nil {
		_, err = io.WriteString(p.in, "quit\n")
	}
	p.end(&s)
	return s, err
}

func writeRandomOnce(name string, size int64) error {
	if st, err := os.Stat(name); err == nil && st.Size() == size {
		return nil
	}
	return writeData(name, size)
}

// process is a running emulator with its terminal lines as pipes.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.Reader
	seen []byte
}

func start(program string, args ...string) (*process, error) {
	cmd := exec.Command(program, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	return &process{cmd: cmd, in: in, out: out}, cmd.Start()
}

// expect reads until text was printed.
func (p *process) expect(text string) error {
	stop := time.AfterFunc(patience, p.kill)
	defer stop.Stop()
	buf := make([]byte, 64<<10)
	for {
		if i := bytes.Index(p.seen, []byte(text)); i >= 0 {
			p.seen = p.seen[i+len(text):]
			return nil
		}
		n, err := p.out.Read(buf)
		p.seen = append(p.seen, buf[:n]...)
		if err != nil {
			return errors.Join(fmt.Errorf("%q did not come after %q", text, p.seen), err)
		}
	}
}

// kill ends a process that may have ended already.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// end makes the process end and adds what it used. How it ends does not matter: it is
// killed if it does not see its input close.
func (p *process) end(s *sample) {
	p.in.Close()
	timer := time.AfterFunc(2*time.Second, p.kill)
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, p.out)
	_ = p.cmd.Wait()
	s.addUsage(p.cmd)
}
