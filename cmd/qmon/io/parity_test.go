package io

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"

	"github.com/qmon/qmon/internal/peer"
)

// fixtures are the files that every parity case starts with, made by the real tools.
var fixtures = []string{
	"qemu-img create -q a.raw 1M",
	"qemu-img create -q -f qcow2 a.qcow2 16M",
	"qemu-img create -q -f qcow2 d.qcow2 3M",
	"qemu-io -f qcow2 -c 'write -P 5 256k 1M' -c 'write -z 2M 128k' d.qcow2",
	"qemu-img create -q -f qcow2 -b d.qcow2 -F qcow2 o.qcow2",
	"qemu-io -f qcow2 -c 'write -P 7 1M 128k' -c 'write -z 0 64k' o.qcow2",
	"qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=4k v2.qcow2 1M",
	"qemu-img create -q -u -f qcow2 -b d.qcow2 -F raw strange.qcow2 3M",
	"qemu-img create -q b.raw 1M",
	"sh -c 'printf \"[inject-error]\\nevent = \\\"read_aio\\\"\\n\" >rules'",
	"qemu-img create -q z.raw 0",
	"qemu-img create -q -f qcow2 z.qcow2 0",
	"qemu-img convert -O raw d.qcow2 d.raw",
	"sh -c 'printf \"0123456789 abc:;[z\\377\" >pattern; : >empty'",
}

// parityCases are command lines that give the same output and status with qemu-io and
// with us, and leave images that hold the same. What stands behind | is typed.
var parityCases = []string{
	"--image-opts -c 'open driver=raw,file.filename=a.raw' -c 'read 0 1k'", "--image-opts -c 'open -r driver=raw,file.filename=a.raw' -c 'write 0 1k'",
	"--image-opts -c 'open -o cache.direct=off driver=raw,file.filename=a.raw'", "--image-opts -c 'open driver=raw,file.filename=missing'",
	// the program
	"-c length nofile", "-f foo -c length a.raw", "-f qcow2 -c length a.raw", "-c length foo:bar", "-f raw .", "-f raw ''",
	"-c 'read 0 512'", "-c length", "-c close", "-c map", "-c 'sleep 1'", "-c ''", "-c ' '", "-c foo", "-c read", "-c 'help foo'",
	"-f '' -c length a.raw", "-t foo a.raw", "-d foo a.raw", "-i foo a.raw", "-k -f raw -c length a.raw", "-i native -f raw -c length a.raw",
	"-U -f raw -c length a.raw", "-Ur -f raw -c length a.raw", "-C -r -f raw -c length a.raw",
	"-c length a.raw", "-r -c length a.raw", "-s -c length a.raw", "--cmd=length --form raw a.raw",
	"--image-opts -c length driver=raw,file.filename=a.raw", "--image-opts -f raw -c length driver=raw,file.filename=a.raw",
	"--image-opts -c length foo=bar", "--image-opts -c length driver=raw,foo=bar", "--image-opts -c length driver=raw,file.filename=x",
	`-c length 'json:{"driver":"raw","file":{"driver":"file","filename":"a.raw"}}'`,
	`-f raw -c length 'json:{"driver":"raw","file":{"driver":"file","filename":"a.raw"}}'`, "-c length json:{}",
	"-f raw -c length -c 'write 2M 512' -c quit -c length a.raw", "-f raw -c foo -c bar -c length a.raw",
	"-t writethrough -f raw -c 'write 0 512' a.raw", "-n -f raw -c 'read 1 511' -c 'write 7 100' a.raw",
	"-m -i io_uring -d unmap -f raw -c 'discard 0 512' a.raw", "-s -f raw -c 'write 0 512' -c 'read -P 0xcd 0 512' a.raw",
	"-r -f raw -c 'write 0 512' -c 'discard 0 512' -c 'write -z 0 512' -c 'aio_write 0 512' -c 'truncate 1M' -c flush -c 'write -x' a.raw",
	"--object secret,id=s,data=x -f raw -c length a.raw", "--object foo,id=x a.raw", "--object secret,id=s a.raw",
	"--object secret,id=s,data=x --object secret,id=s,data=y -f raw -c length a.raw", "--object secret,data=x a.raw",
	// the prompt
	"-f raw a.raw | read 0 512\n", "-f raw a.raw | read 0 512\nlength", "-f raw a.raw | foo\nlength\n", "-f raw a.raw | quit\nlength\n",
	"-f raw a.raw | ", "-f raw a.raw | \n\nwrite 2M 512\n", "| length\nopen a.qcow2\nlength\nclose\nlength\n",
	"-f raw a.raw | read\t0 512\nread \"0\" 512\nread 0 '512' \nread\\ 0 512\nlength\r\n", "-f raw a.raw | aio_write 0 512\nlength\n",
	// read
	"-f raw -c 'read 0 512' -c 'read -C 0 512' -c 'read -v 0 20' -c 'read -q -v 0 512' -c 'read -vP 1 0 32' a.raw",
	"-f raw -c 'read -P 1 -s 100 -l 50 0 512' -c 'read -P 1 -s 100 -l 5000 0 512' -c 'read -s 1 0 512' -c 'read -P 1 -s 600 0 512' a.raw",
	"-f raw -c 'read 0' -c read -c 'read -z 0 512' -c 'read -P 3' -c 'read -P x 0 512' -c 'read -P 256 0 512' -c 'read 0 512 512' a.raw",
	"-f raw -c 'read x 512' -c 'read 0 x' -c 'read -1 5' -c 'read 0 -- -5' -c 'read -b 1 512' -c 'read -b 0 512' -c 'read -b 0 100' a.raw",
	"-f raw -c 'read 1M 512' -c 'read 8E 512' -c 'read 7.5E 512' -c 'read 0 5G' -c 'read 1.5k 1.2k' -c 'read 0xff 1k' -c 'read 0 0' a.raw",
	"-f raw -c 'read  0   512' -c ' read 0 512' -c 'read 0 512 -P 0' -c 'read -- 0 512' -c 'r 0 1' -c 'read -p 0 1' a.raw",
	"-f raw -c 'read -l x 0 512' -c 'read -s x 0 1' -c 'read -l -5 -P 1 0 1' -c 'read -P 010 0 1' -c 'read -P 0x 0 1' -c 'read -P 1_0 0 1' a.raw",
	"-f raw -c 'readv -v 0 16 16' -c 'readv -P 4 0 16 16' -c 'readv 0 2147483136 1' -c 'readv 0 2G 1' -c 'readv x 1' -c 'readv -b 0 1 1' -c 'readv 2M 1' a.raw",
	"-f qcow2 -c 'read -v 262140 20' -c 'read -P 5 256k 1M' -c 'read -P 0 2M 1M' d.qcow2", "-c 'read -P 7 1M 128k' -c 'read -P 5 256k 768k' o.qcow2",
	"-f raw -c 'write -s pattern 990 30' -c 'read -v 990 34' a.raw",
	// write
	"-f raw -c 'write 0 512' -c 'write -z 512 512' -c 'write -zu 1k 512' -c 'write -f 2k 512' -c 'write -C 4k 64k' -c 'w 0 1' a.raw",
	"-f raw -c 'write -n 0 512' -c 'write -u 0 512' -c 'write -z -P 1 0 512' -c 'write -s pattern -P 1 0 512' -c 'write -b -z 0 5' a.raw",
	"-f raw -c 'write -s pattern 0 4k' -c 'write -s nofile 0 4k' -c 'write -s empty 0 4k' -c 'write -s pattern 5 0' a.raw",
	"-f raw -c 'write -c 0 512' -c 'write -b 0 512' -c 'write -b 3 512' -c 'write -c -f 0 512' -c 'write -c -z 0 512' -c 'write -c 0 100' a.raw",
	"-f raw -c 'write -q 1M 512' -c 'write 1048575 512' -c 'write -z 0 4G' -c 'write -zn 0 4G' -c 'write 0 4G' -c 'write 0 0' a.raw",
	"-f raw -c 'writev 0 512 512' -c 'writev 0 512 x' -c 'writev 0' -c 'writev -P 9 100 1 2 3' -c 'writev -z 0 1' -c 'writev 2M 1' a.raw",
	"-f raw -c \"write -P '' 0 1\" -c 'write -P 0377 0 1' -c 'write -P -1 0 1' -c 'write -P 0xffz 0 1' -c 'write -s' -c 'write 0 1 -P' a.raw",
	"-f qcow2 -c 'write -c -P 5 0 64k' -c 'write -c -P 6 64k 128k' -c 'write -c 1k 64k' -c 'write -c 16M 64k' -c 'write -c 1M 0' -c 'write -c 512k 96k' a.qcow2",
	"-f qcow2 -c 'write -b -P 3 0 512' -c 'read -b -P 3 0 512' -c 'read -b 1G 512' -c 'write -b 1M 64k' -c 'read -bP 0xcd 1M 64k' -c info a.qcow2",
	"-f qcow2 -c 'write -P 1 100 1000' -c 'write -P 2 16777215 1' -c 'write -P 3 16777215 2' -c 'write -zu 0 64k' -c 'write -z 64k 64k' -c map a.qcow2",
	// aio
	"-f raw -c 'aio_read 0 512' a.raw", "-f raw -c 'aio_read -v 0 32' a.raw", "-f raw -c 'aio_read -P 9 0 512' a.raw",
	"-f raw -c 'aio_read -i 0 512' -c 'aio_write -i 0 512' -c aio_flush -c 'aio_read 2M 512' -c aio_flush -c 'aio_write 2M 512' a.raw",
	"-f raw -c 'aio_write 0 512' -c length -c aio_flush -c length a.raw", "-f raw -c 'aio_write -C 0 512 512' a.raw",
	"-f raw -c 'aio_write -q 0 512' -c aio_flush -c 'aio_read -qP 0xcd 0 512' -c aio_flush -c 'aio_read -vq 0 1' a.raw",
	"-f raw -c 'aio_write -z 0 512 512' -c 'aio_write -u 0 512' -c 'aio_write -zu 0 512' -c aio_flush -c 'aio_write -zP 3 0 512' a.raw",
	"-f raw -c 'aio_write x 0' -c 'aio_write 0 x' -c 'aio_read 0' -c 'aio_read 0 4G' -c 'aio_write -z 0 4G' -c aio_flush -c 'aio_write -y 0 1' a.raw",
	"-f qcow2 -c 'aio_write -P 4 0 1M' -c aio_flush -c 'aio_read -P 4 0 1M' -c aio_flush -c 'aio_flush 1' -c close a.qcow2",
	// map, alloc, info, length
	"-f raw -c map -c info -c length -c 'alloc 0' -c 'alloc 100' -c 'alloc 1M' -c 'alloc 1048575' -c 'alloc 0 3G' -c 'alloc 1 0' a.raw",
	"-f raw -c map -c info -c length -c 'alloc 0' z.raw", "-f qcow2 -c map -c info -c length -c 'alloc 0 512' z.qcow2",
	"-f qcow2 -c map -c info -c length -c 'alloc 0 3M' -c 'alloc 256k 1M' -c 'alloc 255k 2k' d.qcow2", "-c map -c info -c 'alloc 0 3M' o.qcow2",
	"-c info v2.qcow2", "-f raw -c map d.raw", "-f raw -c 'alloc x' -c 'alloc 0 x' -c alloc -c 'alloc 0 1 1' -c 'alloc -1' -c 'length 1' a.raw",
	"-f raw -c info null-co://", "-f raw -c length -c 'read 0 512' null-co://", "-f raw -c i -c l -c f -c 'a 0' -c 'd 0 512' a.raw",
	// discard, truncate, flush
	"-f raw -c 'discard 0 64k' -c 'discard -C 0 64k' -c 'discard -q 0 64k' -c 'discard 0 4G' -c 'discard 0 x' -c 'discard 0' -c 'discard 2M 1' a.raw",
	"-f qcow2 -c 'discard 0 1M' -c map -c 'discard 100 1' -c 'discard -x 0 1' -c 'discard 0 1 1' d.qcow2", "-d ignore -c 'discard 0 3M' -c map d.qcow2",
	"-c 'discard 0 1M' -c map -c 'read -P 0 0 1M' o.qcow2",
	"-f raw -c 'truncate 2M' -c length -c 'truncate 512k -m off' -c length -c 'truncate 100' -c length -c 'truncate 1.1k' -c length -c 'truncate 0' a.raw",
	"-f raw -c truncate -c 'truncate x' -c 'truncate -m foo 2M' -c 'truncate -m' -c 'truncate -1' -c 'truncate 8E' -c 'truncate -m falloc 2M' -c length a.raw",
	"-f qcow2 -c 'truncate 32M' -c length -c map -c 'truncate 1M' -c length -c 'truncate -m metadata 2M' -c map a.qcow2",
	"-f raw -c flush -c 'flush 1' -c 'flush -x' -c 'sleep x' -c sleep -c 'sleep 1 2' -c 'sleep -1' -c 'sleep 0x1' -c 'sleep 1k' a.raw",
	// open, close
	"-c 'open a.raw' -c length", "-c 'open -o driver=raw a.raw' -c length -c close -c length", "-f raw -c 'open a.raw' a.raw", "-c open",
	"-f raw -c close -c close -c 'open -r -o driver=raw a.raw' -c 'write 0 512' a.raw", "-c 'open -o driver=raw,read-only=on a.raw' -c length",
	"-c 'open a b'", "-c 'open -t foo a.raw'", "-c 'open -d foo a.raw'", "-c 'open -i foo a.raw'", "-c 'open nofile'", "-c 'open -o driver=foo a.raw'",
	"-c 'open -o driver=raw,foo=1 a.raw'", "-c 'open -o driver=qcow2 a.raw'", "-c 'open -o driver=raw,file.filename=a.raw' -c length",
	"-c 'open -o file.filename=a.qcow2' -c length", "-c 'open -s -o driver=raw a.raw' -c 'write 0 512'", "-c 'open -nk -o driver=raw a.raw' -c length",
	"-c 'open -k -o driver=raw a.raw' -c length", "-c 'open -z'", "-c 'open -U a.qcow2'", "-c 'open -rU a.qcow2' -c length", "-c 'open -rC a.qcow2'",
	// buffers, traces
	"-m -n -f raw -c 'write -P 7 512 9k' -c 'read -vP 7 1k 1k' -c 'aio_write -P 8 0 4k' -c aio_flush -c 'aio_read -P 8 0 4k' -c aio_flush -c 'write -s b.qcow2 8k 5k' a.raw",
	"-m -f qcow2 -c 'write -P 7 100 9k' -c 'read -P 7 100 9k' -c 'readv -P 7 512 512 512' -c 'writev -P 3 0 512 512' a.qcow2",
	"-T nosuch -f raw -c 'read 0 512' a.raw", "-T enable=-nosuch,file=x -T a* -f raw -c length a.raw", "-T foo=1 -f raw -c length a.raw",
	"-n -k -f raw -c 'reopen -c writeback' -c 'read 0 512' a.raw",
	// reopen
	"-f raw -c 'reopen -r' -c 'write 0 512' -c reopen -c 'reopen -w' -c 'write 0 512' a.raw", "-f raw -r -c 'reopen -w' -c 'write 0 512' a.raw",
	"-f raw -c 'reopen -c none' -c 'write 0 512' -c 'reopen -c foo' -c 'reopen -o foo=1' -c 'reopen x' -c 'reopen -r -w' -c 'reopen -r -r' a.raw",
	"-f qcow2 -c 'reopen -o lazy-refcounts=on' -c 'write 0 64k' -c 'reopen -o overlap-check=foo' -c 'reopen -o file.filename=x' -c info a.qcow2",
	"-f raw -c 'reopen -o read-only=on -r' -c 'reopen -c none -o cache.direct=on' -c 'reopen -o driver=qcow2' -c 'reopen -z' a.raw", "-c reopen",
	"-f qcow2 -c 'reopen -o discard=unmap' -c 'write -P 9 0 64k' -c 'reopen -r -c writeback' -c 'write 0 1' -c 'read -P 9 0 64k' a.qcow2",
	"-c 'open -o backing.driver=qcow2 strange.qcow2' -c 'read -P 5 256k 1M'", "-c 'open -o backing.driver=raw o.qcow2' -c 'read -v 0 10'",
	"-c length strange.qcow2", "-c 'open -o backing.driver=foo o.qcow2'",
	// copy-on-read
	"-C -c map -c 'read 100 10' -c map -c 'read -q 2M 10' -c map -c 'alloc 0 3M' -c info -c 'read -b 0 512' -c 'truncate 4M' -c length -c map o.qcow2",
	"-C -f raw -c map -c 'read 0 1' -c 'write 0 1' -c 'discard 0 512' -c 'write -z 0 1' a.raw", "-C -c 'write -P 1 0 3k' -c 'read -vP 1 3060 20' -c map o.qcow2",
	"-C -s -c 'read 0 3M' -c map -c 'alloc 0 3M' o.qcow2", "-c 'open -C o.qcow2' -c 'read -q 0 3M' -c map",
	// what needs a node that can be debugged, and the host
	"-f raw -c 'break x y' -c 'resume x' -c 'remove_break x' -c break -c 'break x' -c resume a.raw",
	"-f raw -c 'sigraise 0' -c 'sigraise x' -c 'sigraise 1000' -c 'sigraise 1 2' -c 'sigraise -1' a.raw",
	"-f raw -c help a.raw", "-f raw -c '?' -c 'help read write' -c 'help help' -c 'help q' -c 'help map' -c 'help alloc' a.raw",
}

// outcome is what a user sees of a command line.
type outcome struct {
	Stdout, Stderr string
	Status         int
}

func TestParity(t *testing.T) { testParity(t, parityCases) }

func testParity(t *testing.T, cases []string) {
	peer.Need(t, "qemu-img", "qemu-io", "cp", "sh")
	template := t.TempDir()
	peer.Make(t, template, fixtures)
	for _, c := range cases {
		t.Run(c, func(t *testing.T) {
			theirs, ours := peer.Copy(t, template), peer.Copy(t, template)
			line, typed, _ := strings.Cut(c, "|")
			args, err := shlex.Split(line)
			if err != nil {
				t.Fatal(err)
			}
			typed = strings.TrimPrefix(typed, " ")
			want, got := runPeer(t, theirs, args, typed), runOurs(t, ours, args, typed)
			diff := cmp.Diff(want, got) + imageDifferences(t, theirs, ours)
			if diff != "" {
				t.Errorf("(-qemu-io +ours):\n%s", diff)
			}
		})
	}
}

// peerPatience is how long the real program may take; some of its commands wait for ever.
const peerPatience = 20 * time.Second

func runPeer(t *testing.T, dir string, args []string, typed string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), peerPatience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-io", args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(typed), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return normalize(stdout.String(), stderr.String(), cmd.ProcessState.ExitCode())
}

// runOurs runs the same within the test.
func runOurs(t *testing.T, dir string, args []string, typed string) outcome {
	t.Helper()
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	tool := &tool{ctx: context.Background(), prog: "qemu-io", stdin: strings.NewReader(typed), stdout: &stdout, stderr: &stderr}
	status := tool.main(args)
	return normalize(stdout.String(), stderr.String(), status)
}

// varying are the parts of the output that depend on the speed, and one space.
var varying = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(?m)^map  --`), "map --"},
	{regexp.MustCompile(`ops; .* sec \(.*/sec and .* ops/sec\)`), "ops; TIME"},
	{regexp.MustCompile(`ops; [0-9:.]+ \(.*/sec and .* ops/sec\)`), "ops; TIME"},
	{regexp.MustCompile(`(?m)^(\d+,1),[0-9:.]+,[0-9.]+,[0-9.]+$`), "$1,TIME"},
}

func normalize(stdout, stderr string, status int) outcome {
	for _, v := range varying {
		stdout = v.pattern.ReplaceAllString(stdout, v.with)
	}
	return outcome{stdout, stderr, status}
}

// imageDifferences has the real qemu-img look at what both sides left behind.
func imageDifferences(t *testing.T, theirs, ours string) string {
	t.Helper()
	var out strings.Builder
	images, err := filepath.Glob(filepath.Join(theirs, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range images {
		b := filepath.Join(ours, filepath.Base(a))
		if sameContents(t, a, b) {
			continue
		}
		format := strings.TrimPrefix(filepath.Ext(a), ".")
		if text, err := exec.Command("qemu-img", "compare", "-f", format, "-F", format, a, b).CombinedOutput(); err != nil {
			fmt.Fprintf(&out, "%s: %s", filepath.Base(a), text)
		}
		if format == "raw" {
			continue
		}
		if text, err := exec.Command("qemu-img", "check", b).CombinedOutput(); err != nil {
			fmt.Fprintf(&out, "check of %s: %s", filepath.Base(b), text)
		}
	}
	return out.String()
}

func sameContents(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(one, other)
}
