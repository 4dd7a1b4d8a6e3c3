//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/shlex"

	"github.com/qmon/qmon/internal/peer"
)

// mistakes are command lines that QEMU refuses before it starts anything.
var mistakes = []string{
	"-drive file=a.qcow2,format=", "-drive file=a.qcow2,if=", "-drive file=a.qcow2,id=",
	"-foo",
	"-loadvm ''",
	"-pidfile ''",
	"-pidfile no/such/folder",
	"-hda",
	"-m foo",
	"-machine foo",
	"-uuid zzz",
	"-icount foo",
	"-device foo",
	"-device virtio-blk-pci",
	"-device virtio-blk-pci,drive=nosuch",
	"-serial foo",
	"-monitor foo",
	"-chardev foo,id=x",
	"-chardev stdio",
	"-chardev socket,id=x",
	"-mon chardev=nosuch",
	"-hda nosuch.img",
	"nosuch.img",
	"-hda a.qcow2 -hda b.img",
	"a.qcow2 b.img",
	"-drive format=raw",
	"-drive file=nosuch",
	"-drive file=a.qcow2,if=foo",
	"-drive file=a.qcow2,media=foo",
	"-drive file=a.qcow2,cache=foo",
	"-drive file=a.qcow2,discard=foo",
	"-drive file=a.qcow2,detect-zeroes=foo",
	"-drive file=a.qcow2,werror=foo",
	"-drive file=a.qcow2,rerror=foo",
	"-drive file=a.qcow2,rerror=enospc",
	"-drive file=a.qcow2,format=foo",
	"-drive file=a.qcow2,foo=bar",
	"-drive file=b.img,format=raw,foo=bar",
	"-drive file=b.img,format=qcow2",
	"-drive file=a.qcow2,snapshot=foo",
	"-drive file=a.qcow2,readonly=foo",
	"-drive file=a.qcow2,index=foo",
	"-drive file=a.qcow2,if=none,index=0,unit=3",
	"-drive file=a.qcow2,if=ide,bus=9",
	"-drive file=a.qcow2,if=ide,unit=7",
	"-drive file=a.qcow2,if=scsi",
	"-drive file=a.qcow2,aio=foo",
	"-drive file=a.qcow2,if=none,id=1x",
	"-drive file=a.qcow2,if=floppy,werror=ignore",
	"-drive file=a.qcow2,driver=qcow2,format=qcow2",
	"-drive file=a.qcow2,if=none,id=x -drive file=b.img,format=raw,if=none,id=x",
	"-drive file=foo:bar",
	"-blockdev driver=foo,node-name=x",
	"-blockdev driver=qcow2,node-name=x",
	"-blockdev driver=file,filename=b.img",
	"-blockdev driver=file,filename=nosuch,node-name=x",
	"-loadvm nosuch -hda a.qcow2",
}

// TestMistakesOnTheCommandLine compares what the real program says, and its exit status.
func TestMistakesOnTheCommandLine(t *testing.T) {
	peer.Need(t, "qemu-system-x86_64", "qemu-img")
	ours := binary(t, "qemu-system-x86_64")
	dir := t.TempDir()
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", filepath.Join(dir, "a.qcow2"), "16M")
	if err := os.WriteFile(filepath.Join(dir, "b.img"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range mistakes {
		t.Run(line, func(t *testing.T) {
			words, err := shlex.Split(line)
			if err != nil {
				t.Fatal(err)
			}
			args := append([]string{"-nodefaults", "-display", "none", "-S"}, words...)
			want, wantStatus := complaint(t, dir, "qemu-system-x86_64", args)
			got, status := complaint(t, dir, ours, args)
			if got != want || status != wantStatus {
				t.Errorf("got (status %d):\n%s\nwant (status %d):\n%s", status, got, wantStatus, want)
			}
		})
	}
}

// complaint runs a program that will not start and returns its standard error.
func complaint(t *testing.T, dir, program string, args []string) (string, int) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.Run()
	return strings.ReplaceAll(stderr.String(), program+":", filepath.Base(program)+":"), cmd.ProcessState.ExitCode()
}
