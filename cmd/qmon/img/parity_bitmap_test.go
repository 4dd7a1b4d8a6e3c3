package img

import (
	"slices"
	"testing"
)

// bitmapFixtures: broken.qcow2 has an inconsistent bitmap beside a good one, over.qcow2 lies
// over an image with a bitmap and has two itself.
var bitmapFixtures = []string{
	"cp b.qcow2 broken.qcow2",
	`sh -c "qemu-io -f qcow2 -c 'write 0 64k' -c 'sigraise 9' broken.qcow2 2>/dev/null || true"`,
	"qemu-img bitmap --add broken.qcow2 fine",
	"qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 over.qcow2",
	"qemu-img bitmap --add over.qcow2 upper",
	"qemu-img bitmap --add --disable -g 4k --merge upper over.qcow2 off",
	"qemu-io -f qcow2 -c 'write 0 192k' over.qcow2",
}

// bitmapCases are compared as parityCases are.
var bitmapCases = []string{
	"bitmap", "bitmap a.qcow2", "bitmap a.qcow2 x", "bitmap --add a.qcow2", "bitmap --add a.qcow2 x y", "bitmap --foo a.qcow2 x",
	"bitmap -q --add a.qcow2 x", "bitmap -U --add a.qcow2 x", "bitmap --remove-all a.qcow2 x",
	"bitmap --add a.qcow2 x; info a.qcow2; check a.qcow2", "bitmap --add -g 4k a.qcow2 x; info --output=json a.qcow2",
	"bitmap --add -g 100 a.qcow2 x", "bitmap --add -g 100k a.qcow2 x", "bitmap --add -g 4G a.qcow2 x", "bitmap --add -g 256 a.qcow2 x",
	"bitmap --add -g foo a.qcow2 x", "bitmap --add -g 0 a.qcow2 x; info a.qcow2", "bitmap --add -g 2G a.qcow2 x; bitmap --add -g 512 a.qcow2 y; info a.qcow2",
	"bitmap --clear -g 4k b.qcow2 first", "bitmap --add odd.qcow2 x; info odd.qcow2; check -q odd.qcow2", "bitmap --add b.qcow2 first", "bitmap --add v2.qcow2 x",
	"bitmap --add -f raw a.raw x", "bitmap --add a.raw x", "bitmap --add -f raw a.raw ''", "bitmap --add a.qcow2 ''", "bitmap --add missing x",
	"bitmap --remove -f raw a.raw x", "bitmap --remove v2.qcow2 x",
	"bitmap --remove b.qcow2 first; info b.qcow2; check -q b.qcow2; bitmap --remove b.qcow2 'the second'; info b.qcow2; check -q b.qcow2",
	"bitmap --remove b.qcow2 nope", "bitmap --clear b.qcow2 nope", "bitmap --enable b.qcow2 nope", "bitmap --disable b.qcow2 nope",
	"bitmap --merge nope b.qcow2 first", "bitmap --merge first b.qcow2 nope", "bitmap --merge first b.qcow2 first",
	"bitmap --merge first b.qcow2 'the second'; info b.qcow2; check -q b.qcow2", "bitmap --clear b.qcow2 first; info b.qcow2; check -q b.qcow2",
	"bitmap --disable b.qcow2 first; bitmap --enable b.qcow2 'the second'; info b.qcow2",
	"bitmap --add --disable --merge first b.qcow2 third; info b.qcow2", "bitmap --disable --add b.qcow2 third", "bitmap --add --remove --add b.qcow2 third; info b.qcow2",
	"bitmap --add --merge nope b.qcow2 half; info b.qcow2", "bitmap --merge first --merge 'the second' --clear b.qcow2 first",
	"bitmap --add --merge first -b b.qcow2 -F qcow2 d.qcow2 x; info d.qcow2", "bitmap --merge upper -b over.qcow2 b.qcow2 first",
	"bitmap --merge first -b b.qcow2 -F qcow2 a.qcow2 x", "bitmap --add --merge first -b b.qcow2 -F qcow2 a.qcow2 x; info a.qcow2",
	"bitmap --add --merge first -b missing a.qcow2 x", "bitmap --add --merge first -b b.qcow2 -F raw a.qcow2 x", "bitmap --merge first -F qcow2 b.qcow2 first",
	"bitmap --clear -b b.qcow2 a.qcow2 x", "bitmap --add --merge x -b a.raw -F raw a.qcow2 x", "bitmap --merge x -b b.qcow2 missing x",
	"bitmap --add --image-opts driver=qcow2,file.filename=a.qcow2 x; info a.qcow2", "bitmap --add --image-opts -f qcow2 driver=qcow2,file.filename=a.qcow2 x",
	"bitmap --clear broken.qcow2 first", "bitmap --enable broken.qcow2 first", "bitmap --merge fine broken.qcow2 first", "bitmap --merge first broken.qcow2 fine",
	"bitmap --add broken.qcow2 first", "bitmap --remove broken.qcow2 first; info broken.qcow2; check -q broken.qcow2", "info broken.qcow2", "check broken.qcow2",
	"resize broken.qcow2 4M", "resize --shrink broken.qcow2 1M", "resize b.qcow2 4M; info b.qcow2; check b.qcow2", "resize --shrink b.qcow2 1M; info b.qcow2; check b.qcow2",
	"snapshot -c s b.qcow2; info --output=json b.qcow2; snapshot -a s b.qcow2; snapshot -d s b.qcow2; check -q b.qcow2", "commit over.qcow2; info over.qcow2; info b.qcow2",
	"rebase -b '' over.qcow2; info over.qcow2; check -q over.qcow2",
	"convert --bitmaps -O qcow2 b.qcow2 n; info n; check n; compare n b.qcow2", "convert --bitmaps -O qcow2 over.qcow2 n; info n",
	"convert --bitmaps -O qcow2 -B b.qcow2 -F qcow2 over.qcow2 n; info n; check n", "convert -O qcow2 b.qcow2 n; info n", "convert --bitmaps -c -O qcow2 b.qcow2 n; info n",
	"convert --bitmaps -O qcow2 broken.qcow2 n", "convert --bitmaps --skip-broken-bitmaps -O qcow2 broken.qcow2 n; info n", "convert --skip-broken -O qcow2 b.qcow2 n",
	"convert --bitmaps -O raw b.qcow2 n", "convert --bitmaps -O qcow2 a.raw n", "convert --bitmaps -O qcow2 v2.qcow2 n", "convert --bitmaps -O qcow2 -o compat=0.10 b.qcow2 n",
	"convert --bitmaps -O qcow2 a.qcow2 n; info n", "convert --bitmaps -O qcow2 a.qcow2 b.qcow2 n", "convert --bitmaps -l one -O qcow2 s.qcow2 n",
	"convert --bitmaps -n -O qcow2 b.qcow2 d.qcow2; info d.qcow2; check d.qcow2", "convert --bitmaps -n -O qcow2 b.qcow2 b2.qcow2", "convert --bitmaps -n -O qcow2 b.qcow2 over.qcow2; info over.qcow2",
	"create -q -f qcow2 n 5M; convert --bitmaps -n -O qcow2 b.qcow2 n; info n", "convert --bitmaps -n -O raw b.qcow2 d.raw",
	"bitmap --add d.qcow2 first; convert --bitmaps -n -O qcow2 b.qcow2 d.qcow2; info d.qcow2",
}

func TestBitmapParity(t *testing.T) {
	runParity(t, slices.Concat(fixtures, bitmapFixtures), bitmapCases, map[string]string{
		"convert --bitmaps -O raw b.qcow2 n":                  unfinished,
		"convert --bitmaps -O qcow2 -o compat=0.10 b.qcow2 n": unfinished,
	})
}
