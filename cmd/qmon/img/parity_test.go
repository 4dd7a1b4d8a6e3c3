package img

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

	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"

	"github.com/qmon/qmon/internal/peer"
)

// fixtures are the images that every parity case starts with, made by the real qemu-img.
var fixtures = []string{
	"qemu-img create -q a.raw 1M",
	"qemu-img create -q -f qcow2 a.qcow2 1M",
	"qemu-img create -q -f qcow2 d.qcow2 3M",
	"qemu-io -f qcow2 -c 'write -P 5 256k 1M' -c 'write -z 2M 128k' d.qcow2",
	"qemu-img convert -O raw d.qcow2 d.raw",
	"cp --sparse=always d.raw e.raw",
	"qemu-io -f raw -c 'write -P 6 1000000 100' e.raw",
	"cp --sparse=always d.raw long.raw",
	"truncate -s 5M long.raw",
	"cp --sparse=always long.raw longer.raw",
	"qemu-io -f raw -c 'write -P 6 4M 4k' longer.raw",
	"qemu-img create -q -f qcow2 -b d.qcow2 -F qcow2 o.qcow2",
	"qemu-io -f qcow2 -c 'write -P 7 1M 128k' -c 'write -z 0 64k' o.qcow2",
	"qemu-img create -q -f qcow2 -b ../a.raw -F raw sub/o.qcow2 3M",
	"qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1M",
	"qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=512,refcount_bits=1 odd.qcow2 1M",
	"qemu-img create -q -f qcow2 -u -b missing.raw -F raw orphan.qcow2 1M",
	"cp d.qcow2 s.qcow2",
	"qemu-img snapshot -c one s.qcow2",
	"qemu-io -f qcow2 -c 'write -P 9 0 64k' s.qcow2",
	"qemu-img snapshot -c 'a rather long name of a snapshot' s.qcow2",
	"qemu-img snapshot -c 7 s.qcow2",
	"qemu-img convert -c -O qcow2 d.qcow2 c.qcow2",
	"qemu-img create -q -f qcow2 empty.qcow2 0",
	"cp d.qcow2 b.qcow2",
	"qemu-img bitmap --add b.qcow2 first",
	"qemu-img bitmap --add --disable -g 4k b.qcow2 'the second'",
	"qemu-io -f qcow2 -c 'write -P 5 1M 64k' b.qcow2",
	"cp d.qcow2 leaky.qcow2", // cluster 6 is counted thrice
	`sh -c "printf '\\000\\003' | dd of=leaky.qcow2 bs=1 seek=131084 conv=notrunc status=none"`,
	"cp leaky.qcow2 corrupt.qcow2", // and cluster 7 not at all
	`sh -c "printf '\\000\\000' | dd of=corrupt.qcow2 bs=1 seek=131086 conv=notrunc status=none"`,
}

// parityCases are command lines, several in a row between semicolons, that give the same
// output and status with qemu-img and with us, and leave images that hold the same.
var parityCases = []string{
	"resize -f raw a.raw +1; info a.raw", "resize -f raw a.raw 2000001; info a.raw", "create -f qcow2 -o lazy_refcounts= x 1M",
	"create -f qcow2 -o preallocation= x 1M", "create -f qcow2 -o compression_type= x 1M", "create -f qcow2 x +1M",
	// the program
	"-T nosuch info --output=json a.qcow2", "-T a* check a.qcow2", "-T foo=1 info a.qcow2", "-T x info nofile", "info --object secret,id=x a.qcow2",
	"", "frobnicate", "--bogus", "-Q", "-T", "info --image-opts a.raw", "info --image-opts driver", "info --object foo,id=x a.raw",
	// empty words, as scripts have them whose variables are not set
	"create -f '' n 1M", "create -f qcow2 -b '' n", "info -f '' a.raw", "map -f '' a.raw", "check -f '' a.qcow2", "compare -f '' a.raw a.raw", "compare -F '' a.raw a.raw",
	"convert -f '' a.raw n", "convert -O '' a.raw n", "convert -l '' s.qcow2 n", "convert -o '' a.raw n", "measure -f '' a.raw", "measure -O '' a.raw", "measure -l '' s.qcow2",
	"dd -f '' if=a.raw of=n", "dd -O '' if=a.raw of=n", "resize -f '' a.raw 2M", "resize --preallocation= -f raw a.raw 2M", "commit -f '' o.qcow2", "rebase -f '' -b d.qcow2 o.qcow2",
	"convert -O qcow2 -B '' d.qcow2 n", "convert -O qcow2 -F '' d.qcow2 n", "commit -b '' o.qcow2", "rebase -u -b '' -F '' o.qcow2",
	"bitmap --add --merge x -b '' a.qcow2 y", "bitmap --add --merge x -b b -F '' a.qcow2 y", "bitmap --add -f '' a.qcow2 x", "amend -f '' -o compat=v3 a.qcow2", "bench -f '' a.raw", "check -r '' a.qcow2",
	// create
	"create", "create n.raw", "create -f foo n.raw 1M", "create n.raw foo", "create n.raw -1",
	"create n.raw 1Q", "create n.raw 8E", "create n.raw 999999999999E", "create n.raw 1M 2M",
	"create n.raw 1M", "create n.raw 1000", "create -q n.raw 1M", "create -f qcow2 n.q 1.5M",
	"create -f qcow2 n.q 1M", "create -f qcow2 n.q 1000", "create -f qcow2 n.q 0",
	"create -f qcow2 -o help n.q", "create -f qcow2 -o '?'", "create -o help", "create -o help n.raw",
	"create -f qcow2 -o cluster_size=foo n.q 1M", "create -f qcow2 -o bogus=1 n.q 1M",
	"create -f qcow2 -o cluster_size=100 n.q 1M", "create -f qcow2 -o cluster_size=4M n.q 1M",
	"create -f qcow2 -o cluster_size=4k n.q 1M", "create -f qcow2 -o compat=foo n.q 1M",
	"create -f qcow2 -o compat=0.10 n.q 1M", "create -f qcow2 -o compat=v2 n.q 1M",
	"create -f qcow2 -o lazy_refcounts=on,compat=0.10 n.q 1M", "create -f qcow2 -o lazy_refcounts=on n.q 1M",
	"create -f qcow2 -o lazy_refcounts=maybe n.q 1M", "create -f qcow2 -o lazy_refcounts n.q 1M",
	"create -f qcow2 -o refcount_bits=3 n.q 1M", "create -f qcow2 -o refcount_bits=foo n.q 1M",
	"create -f qcow2 -o refcount_bits=1,compat=0.10 n.q 1M", "create -f qcow2 -o refcount_bits=64 n.q 1M",
	"create -f qcow2 -o preallocation=foo n.q 1M", "create -f qcow2 -o preallocation=metadata n.q 1M",
	"create -f qcow2 -o preallocation=full n.q 1M", "create -f qcow2 -o preallocation=falloc n.q 1M",
	"create -o preallocation=full n.raw 1M", "create -o preallocation=metadata n.raw 1M",
	"create -o preallocation=falloc n.raw 1M",
	"create -f qcow2 -o size=5M n.q", "create -f qcow2 -o size=5M n.q 1M",
	"create -f qcow2 -o ,bogus n.q 1M", "create -f qcow2 -o cluster_size=64k, n.q 1M",
	"create -f qcow2 -o cluster_size=64k -o lazy_refcounts=on n.q 64k",
	"create -f qcow2 -o compression_type=foo n.q 1M", "create -f qcow2 -o compression_type=zstd n.q 1M",
	"create -f qcow2 -b missing -F raw n.q", "create -f qcow2 -b missing -F raw n.q 1M",
	"create -f qcow2 -b d.qcow2 -F foo n.q", "create -f qcow2 -b a.raw -F qcow2 n.q",
	"create -f qcow2 -b d.qcow2 -F qcow2 n.q", "create -f qcow2 -b d.qcow2 -F qcow2 n.q 9M",
	"create -f qcow2 -b a.raw -F raw n.q", "create -f qcow2 -b ../a.raw -F raw sub/n.q",
	"create -f qcow2 -u -b missing -F raw n.q 1M", "create -f qcow2 -u -b missing -F raw n.q",
	"create -f qcow2 -u -b missing n.q 1M", "create -f qcow2 -b '' n.q 1M",
	"create -f raw -b a.raw n.raw 1M", "create -f raw -b a.raw -F raw n.raw 1M", "create -f raw -F raw n.raw 1M",
	"create -f qcow2 -F qcow2 n.q 1M", "create -f qcow2 -b n.q -F qcow2 n.q 1M",
	"create -f qcow2 -o backing_file=d.qcow2,backing_fmt=qcow2 n.q",
	"create -f qcow2 -b a,,b.raw -u -F raw n.q 1M",
	"create -f qcow2 missing/n.q 1M", "create missing/n.raw 1M", "create -f qcow2 sub 1M",
	"create nosuch:n.raw 1M", "create -f qcow2 n.q 7E", "create -f qcow2 n.q 9E",
	// info
	"info a.raw", "info a.qcow2", "info v2.qcow2", "info odd.qcow2", "info s.qcow2", "info c.qcow2", "info o.qcow2",
	"info sub/o.qcow2", "info orphan.qcow2", "info empty.qcow2", "info -f raw a.qcow2",
	"info --output=json a.raw", "info --output=json a.qcow2", "info --output json s.qcow2",
	"info --output=json v2.qcow2", "info --output=json sub/o.qcow2", "info --output=json orphan.qcow2",
	"info --backing-chain sub/o.qcow2", "info --backing-chain o.qcow2", "info --back --outp json o.qcow2",
	"info --output=json --backing-chain a.raw", "info --backing-chain orphan.qcow2",
	"info -U a.qcow2", "info missing", "info", "info a b", "info --output=xml a.raw", "info -f foo a.raw",
	"info -f qcow2 a.raw", "info --foo", "info -Z", "info -f", "info --output", "info --o=json a.raw",
	"info --backing-chain=3 a.raw", "info sub", "info ''",
	"info --image-opts driver=qcow2,file.filename=a.qcow2", "info --image-opts file.filename=a.qcow2",
	"info --image-opts -f qcow2 driver=qcow2,file.filename=a.qcow2",
	"info --image-opts driver=qcow2,file.filename=a.qcow2,bogus=1",
	"info --image-opts driver=raw,file.filename=a.raw,offset=512,size=1024",
	`info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}'`,
	`info 'json:{"driver":"qcow2","file.filename":"sub/o.qcow2"}'`,
	"create -q -f qcow2 -b a.raw -F raw file:n:a.q; info file:n:a.q; info ./n:a.q; info n:a.q", "info file:a.raw",
	`info "json:{'driver':'qcow2','file':{'driver':'file','filename':'a.qcow2'}}"`, "info json:{", "info 'json:[]'",
	"info b.qcow2", "info --output=json b.qcow2", "check b.qcow2", "check --output=json b.qcow2", "check -r all b.qcow2; info b.qcow2",
	// check
	"check a.qcow2", "check -q a.qcow2", "check d.qcow2", "check c.qcow2", "check s.qcow2", "check o.qcow2", "check odd.qcow2",
	"check --output=json a.qcow2", "check --output=json d.qcow2", "check --output=json c.qcow2",
	"check a.raw", "check --output=json a.raw", "check -f raw a.qcow2", "check -r foo a.qcow2", "check -T foo a.qcow2",
	"check", "check missing", "check --output=x a.qcow2", "check -f foo a.qcow2", "check orphan.qcow2",
	"check a.qcow2 d.qcow2", "check leaky.qcow2", "check corrupt.qcow2", "check -q corrupt.qcow2",
	"check --output=json leaky.qcow2", "check --output=json corrupt.qcow2",
	"check -r leaks leaky.qcow2; check leaky.qcow2", "check -r all leaky.qcow2; check leaky.qcow2", "check -r leaks corrupt.qcow2",
	"check -r all corrupt.qcow2; check corrupt.qcow2; map --output=json corrupt.qcow2", "check -r all a.qcow2", "check -r leaks s.qcow2",
	"check --output=json -r all leaky.qcow2", "check --output=json -r all corrupt.qcow2", "check -q -r all leaky.qcow2; check leaky.qcow2",
	"check -r all -f raw a.raw", "check -r all -U a.qcow2", "check -r all missing", "check -r all orphan.qcow2", "check -r all c.qcow2",
	// map
	"map a.raw", "map a.qcow2", "map d.raw", "map d.qcow2", "map o.qcow2", "map sub/o.qcow2", "map c.qcow2", "map empty.qcow2",
	"map --output=json a.raw", "map --output=json a.qcow2", "map --output=json d.raw", "map --output=json d.qcow2",
	"map --output=json o.qcow2", "map --output=json sub/o.qcow2", "map --output=json c.qcow2",
	"map --output=json empty.qcow2", "map --output=json s.qcow2", "map --output=json odd.qcow2",
	"map -s 1M -l 1M d.qcow2", "map -s 1M -l 1M --output=json d.qcow2", "map -s 1000 -l 1000 --output=json d.qcow2",
	"map -s 20M --output=json d.qcow2", "map -s 1M -l 0 d.qcow2", "map -s 1M -l 0 --output=json d.qcow2",
	"map --start-offset=1M --max-length=2M d.qcow2", "map -s foo d.qcow2", "map -l foo d.qcow2", "map -s -1 d.qcow2",
	"map -s 8E d.qcow2", "map", "map missing", "map --output=q a.raw", "map orphan.qcow2",
	"create -q -f qcow2 -o preallocation=metadata n.q 1M; map --output=json n.q; map n.q",
	// snapshot
	"snapshot s.qcow2", "snapshot -l s.qcow2", "snapshot -q -l s.qcow2", "snapshot -U -l s.qcow2", "snapshot -l a.raw",
	"snapshot -l a.qcow2", "snapshot -c x a.qcow2; snapshot -l a.qcow2", "snapshot -c '' a.qcow2; snapshot -l a.qcow2",
	"snapshot -c one s.qcow2; snapshot -l s.qcow2; snapshot -d one s.qcow2; snapshot -l s.qcow2",
	"snapshot -d 2 s.qcow2", "snapshot -d 7 s.qcow2; snapshot -l s.qcow2; check s.qcow2",
	"snapshot -a one s.qcow2; compare s.qcow2 d.qcow2; check s.qcow2", "snapshot -a 2 s.qcow2; compare s.qcow2 d.qcow2",
	"snapshot -a 7 s.qcow2", "snapshot -a nosuch s.qcow2", "snapshot -d nosuch s.qcow2", "snapshot -c x a.raw",
	"snapshot -d x a.raw", "snapshot -a x a.raw", "snapshot", "snapshot -l -c x a.qcow2", "snapshot -c x -d y a.qcow2",
	"snapshot -l missing", "snapshot -l a b", "snapshot -f qcow2 -l a.qcow2", "snapshot -U -c u a.qcow2",
	"snapshot -c x orphan.qcow2", "snapshot -c x v2.qcow2; snapshot -l v2.qcow2",
	"snapshot --image-opts -l driver=qcow2,file.filename=s.qcow2",
	// compare
	"compare d.qcow2 d.raw", "compare d.raw d.qcow2", "compare d.qcow2 e.raw", "compare -s d.qcow2 d.raw", "compare -s d.raw d.raw",
	"compare d.raw long.raw", "compare long.raw d.raw", "compare -s d.raw long.raw", "compare d.raw longer.raw",
	"compare -q d.raw longer.raw", "compare -q d.raw d.qcow2", "compare d.raw", "compare a b c", "compare missing d.raw",
	"compare d.raw missing", "compare -f foo d.raw d.raw", "compare -F foo d.raw d.raw", "compare -T foo d.raw d.raw",
	"compare -f qcow2 d.raw d.raw", "compare --bad", "compare -U d.raw d.raw", "compare -s e.raw d.raw", "compare a.raw d.raw",
	"compare --image-opts file.filename=d.raw file.filename=d.qcow2", "compare o.qcow2 d.qcow2", "compare c.qcow2 d.raw",
	"compare -f raw -F qcow2 d.raw d.qcow2", "compare -p d.raw d.qcow2", "compare -p d.raw e.raw", "compare empty.qcow2 empty.qcow2",
	"compare -p -q d.raw d.qcow2", "compare -q missing d.raw", "compare -s a.qcow2 a.raw", "compare -s a.raw v2.qcow2",
	// resize
	"resize a.qcow2 2M; info a.qcow2; check a.qcow2", "resize d.qcow2 +1M; info d.qcow2", "resize d.qcow2 -1M",
	"resize --shrink d.qcow2 -1M; info d.qcow2; check d.qcow2", "resize -q a.qcow2 2M", "resize a.qcow2", "resize",
	"resize a.qcow2 foo", "resize missing 1M", "resize a.raw 2M", "resize -f raw a.raw 3M; info a.raw",
	"resize -f raw d.raw 1M", "resize --shrink -f raw d.raw 1M; info d.raw", "resize -f raw a.raw +1000",
	"resize -q -f raw d.raw 1M", "resize --preallocation=full -f raw a.raw 2M", "resize --preallocation=foo -f raw a.raw 2M",
	"resize --preallocation=metadata -f raw a.raw 3M", "resize --preallocation=full --shrink -f raw d.raw 1M",
	"resize --preallocation=metadata a.qcow2 4M; check a.qcow2", "resize --preallocation=falloc a.qcow2 4M",
	"resize --preallocation=full a.qcow2 4M", "resize v2.qcow2 4M; snapshot -c s v2.qcow2; resize v2.qcow2 5M",
	"resize a.qcow2 -100M", "resize --shrink a.qcow2 -100M", "resize --shrink a.qcow2 0", "resize a.qcow2 9E", "resize a.qcow2 7E",
	"resize a.qcow2 1000", "resize a.qcow2 2M 3M", "resize --image-opts file.filename=a.qcow2 8M",
	"resize -f qcow2 --image-opts file.filename=a.qcow2 8M", "resize +1M", "resize a.qcow2 +foo", "resize 1M a.qcow2",
	"resize -f foo a.qcow2 1M", "resize a.qcow2 +1", "resize orphan.qcow2 2M",
	// commit
	"commit o.qcow2; map --output=json o.qcow2; check o.qcow2; check d.qcow2; info d.qcow2", "commit -q o.qcow2; compare o.qcow2 d.qcow2",
	"commit a.raw", "commit d.qcow2", "commit", "commit a b", "commit missing", "commit -f foo o.qcow2", "commit -t foo o.qcow2",
	"commit -t writethrough sub/o.qcow2; info -f raw a.raw", "resize o.qcow2 4M; commit o.qcow2; info d.qcow2", "commit orphan.qcow2",
	"commit -d o.qcow2; map o.qcow2; compare o.qcow2 d.qcow2", "commit -b d.qcow2 o.qcow2; map o.qcow2; compare o.qcow2 d.qcow2", "commit -b nope o.qcow2", "commit -b sub/../a.raw sub/o.qcow2",
	"commit -b ../a.raw sub/o.qcow2", "commit -b a.raw sub/o.qcow2", "commit -b ./d.qcow2 o.qcow2", "commit -b sub/../d.qcow2 o.qcow2",
	"commit -b o.qcow2 o.qcow2",
	"create -q -f qcow2 -b o.qcow2 -F qcow2 n; resize -q n 5M; commit -b d.qcow2 n; info d.qcow2; compare n d.qcow2; map n; commit -b o.qcow2 -q n; check o.qcow2",
	"commit -r foo o.qcow2", "commit -r 0 o.qcow2", "commit -r 1G -p -q o.qcow2; compare o.qcow2 d.qcow2", "commit -r -1 o.qcow2",
	"convert -r foo d.qcow2 n", "convert -r 100M d.qcow2 n; compare n d.raw", "convert --salvage -C d.qcow2 n", "convert --salvage -c d.qcow2 n", "convert --salvage -O qcow2 d.qcow2 n; compare n d.raw",
	"convert -C d.qcow2 n; compare n d.raw", "convert -C d.raw n; compare n d.raw", "convert -C -c -O qcow2 d.qcow2 n",
	// convert
	"convert", "convert a.raw", "convert -O qcow2 d.raw n.q; check n.q; compare n.q d.raw", "convert d.qcow2 n.raw; compare n.raw d.raw",
	"convert -O raw c.qcow2 n.raw; compare n.raw d.raw", "convert -O qcow2 o.qcow2 n.q; compare n.q o.qcow2; info n.q",
	"convert -O foo a.raw n.q", "convert -f foo a.raw n.q", "convert missing n.q", "convert -O qcow2 -o help a.raw n.q",
	"convert -O qcow2 -o bogus=1 a.raw n.q", "convert -O qcow2 -o cluster_size=4k,compat=0.10 d.raw n.q; info n.q; compare n.q d.raw",
	"convert -O qcow2 -B d.qcow2 o.qcow2 n.q", "convert -O qcow2 -B d.qcow2 -F qcow2 o.qcow2 n.q; info n.q; compare n.q o.qcow2; map n.q",
	"convert -O qcow2 -b d.qcow2 -F qcow2 o.qcow2 n.q", "convert -O qcow2 -F qcow2 o.qcow2 n.q",
	"convert -O raw -B d.qcow2 -F qcow2 o.qcow2 n.q", "convert -O qcow2 -o backing_file=d.qcow2 o.qcow2 n.q",
	"convert -O qcow2 -B missing -F qcow2 d.qcow2 n.q", "convert -O qcow2 -B d.qcow2 -F qcow2 d.raw n.q; compare n.q d.raw",
	"convert -S foo d.qcow2 n", "convert -S 1000 d.qcow2 n", "convert -S 512 d.qcow2 n; compare n d.raw",
	"convert -S 64k -O qcow2 d.raw n; compare n d.raw", "convert -S 0 -O qcow2 a.raw n; check n",
	"convert -m 0 d.qcow2 n", "convert -m 17 d.qcow2 n", "convert -m foo d.qcow2 n", "convert -m 16 -W d.qcow2 n; compare n d.raw",
	"convert -t foo d.qcow2 n", "convert -T foo d.qcow2 n", "convert -t writeback -T none d.qcow2 n; compare n d.raw",
	"convert -l one s.qcow2 n; compare n d.raw", "convert -l nosuch s.qcow2 n", "convert -l 2 s.qcow2 n; compare n s.qcow2",
	"convert -l snapshot.name=one s.qcow2 n; compare n d.raw", "convert -l snapshot.id=1 s.qcow2 n; compare n d.raw",
	"convert -l snapshot.foo=1 s.qcow2 n", "convert -l snapshot.id=9 s.qcow2 n", "convert -l x a.raw n", "convert -l x s.qcow2 a.raw n",
	"convert -n -O raw d.qcow2 missing.raw", "convert -n -O qcow2 d.qcow2 a.qcow2", "convert -n -O raw d.qcow2 long.raw; compare long.raw d.raw",
	"convert -n -O qcow2 a.qcow2 d.qcow2; compare d.qcow2 a.qcow2; check d.qcow2", "convert -n -o cluster_size=4k -O qcow2 d.qcow2 a.qcow2",
	"convert --target-is-zero -O qcow2 d.qcow2 n", "create -q -f qcow2 n 3M; convert --target-is-zero -n -O qcow2 d.qcow2 n; compare n d.raw",
	"convert --image-opts -f raw a.raw n", "convert --image-opts driver=qcow2,file.filename=d.qcow2 -O raw n; compare n d.raw",
	"create -q n 3M; convert --target-image-opts -n d.qcow2 driver=raw,file.filename=n; compare n d.raw",
	"convert --target-image-opts d.qcow2 driver=raw,file.filename=n", "convert --target-image-opts -O raw -n d.qcow2 driver=raw,file.filename=n",
	"convert a.raw d.qcow2 n; info n; check -f raw n", "convert -O qcow2 a.raw d.qcow2 c.qcow2 n; info n", "convert -B d.qcow2 -F qcow2 -O qcow2 a.raw d.raw n",
	"convert d.qcow2 d.qcow2", "convert -q -p d.qcow2 n", "convert -U d.qcow2 n; compare n d.raw", "convert -C -S 4k d.qcow2 n",
	"convert -O qcow2 -o preallocation=metadata d.qcow2 n; check n; compare n d.raw", "convert d.qcow2 missing/n",
	"convert -O qcow2 -o size=20M d.qcow2 n; info n", "convert -p empty.qcow2 n",
	"convert -p d.qcow2 n", "convert -p -O qcow2 s.qcow2 n", "convert -p -S 0 a.raw n", "convert -p longer.raw n", "convert orphan.qcow2 n",
	// rebase
	"rebase", "rebase -b x", "rebase a.qcow2 d.qcow2 -b x", "rebase a.qcow2", "rebase -b d.qcow2 -F foo o.qcow2",
	"rebase -u -b d.qcow2 -F foo o.qcow2", "rebase -f raw -b d.qcow2 -F qcow2 a.raw", "rebase -b o.qcow2 -F qcow2 o.qcow2",
	"rebase -t foo -b d.qcow2 -F qcow2 o.qcow2", "rebase -T foo -b d.qcow2 -F qcow2 o.qcow2",
	"rebase -b a.raw -F qcow2 o.qcow2", "rebase -b d.qcow2 -F qcow2 nosuch", "rebase -b nosuch -F raw o.qcow2",
	"rebase -u -b nosuch -F raw o.qcow2; info -f qcow2 o.qcow2; rebase -u -b d.qcow2 -F qcow2 o.qcow2", "rebase -b d.qcow2 -F qcow2 o.qcow2; info o.qcow2",
	"convert o.qcow2 before; rebase -b a.qcow2 -F qcow2 o.qcow2; check o.qcow2; compare o.qcow2 before",
	"convert o.qcow2 before; rebase -b '' o.qcow2; check o.qcow2; compare o.qcow2 before; info o.qcow2",
	"convert o.qcow2 before; rebase -U -b d.raw -F raw o.qcow2; compare o.qcow2 before",
	"convert o.qcow2 before; rebase -b d.raw -F raw o.qcow2; compare o.qcow2 before", "rebase -p -u -b d.raw -F raw o.qcow2",
	"convert o.qcow2 before; rebase -b long.raw -F raw o.qcow2; compare o.qcow2 before",
	"rebase -b d.qcow2 o.qcow2", "rebase -u -b d.qcow2 o.qcow2", "rebase -u -b nosuch o.qcow2", "rebase -b nosuch o.qcow2",
	// bench
	"bench", "bench a.qcow2 d.qcow2", "bench -w -c 16 -d 4 --flush-interval 4 d.qcow2", "bench -w -c 16 -d 4 --flush-interval 8 --no-drain d.qcow2",
	"bench -s 8E d.qcow2", "bench -S 1E d.qcow2", "bench -c foo d.qcow2", "bench -d foo d.qcow2", "bench -s foo d.qcow2", "bench -s 3G d.qcow2", "bench -S foo d.qcow2",
	"bench -S 100 -c 4 d.qcow2", "bench -o foo d.qcow2", "bench -o 2M -s 2M -c 4 d.qcow2", "bench -o 16M -c 4 d.qcow2",
	"bench --pattern 300 -w d.qcow2", "bench -t foo d.qcow2", "bench -q -c 4 d.qcow2", "bench -i foo d.qcow2", "bench -i threads -c 4 d.qcow2",
	"bench -n -c 4 a.raw", "bench -i native -c 4 a.raw", "bench -n -t none -c 4 -f raw a.raw", "bench -i native -t writeback a.raw",
	"bench -U -c 2 d.qcow2", "bench -w --flush-interval foo d.qcow2", "bench -c -1 d.qcow2", "bench -w -c 2 nosuch", "bench -c 4 -s 100 d.qcow2",
	"bench -w -d 8 -c 8 --flush-interval 4 d.qcow2", "bench --flush-interval 2 d.qcow2", "bench -w --pattern 3 -c 10 -s 8k -d 1 -o 64k d.qcow2; compare d.qcow2 d.raw",
	// dd
	"dd", "dd if=d.qcow2", "dd if=d.qcow2 of=x bs=1 count=", "dd if=d.qcow2 of=x bs=foo", "dd if=d.qcow2 of=x count=-1",
	"dd if=d.qcow2 of=x skip=foo", "dd -O foo if=d.qcow2 of=x", "dd -f foo if=d.qcow2 of=x", "dd if=d.qcow2 of=missing/x",
	"dd if=d.qcow2 of=x bs=16E", "dd -n if=d.qcow2 of=x", "dd xyz if=d.qcow2 of=x", "dd if of=x", "dd foo=1 if=d.qcow2 of=x", "dd if=d.qcow2 of=x bs=3G",
	"dd if=d.qcow2 of=n; compare n d.raw", "dd -U if=d.qcow2 of=n bs=1M; compare n d.raw", "dd -O qcow2 if=d.qcow2 of=n; compare n d.raw",
	"dd --image-opts if=driver=qcow2,file.filename=d.qcow2 of=n; compare n d.raw", "dd if=d.qcow2 of=n count=0; info n",
	"dd -O qcow2 if=d.qcow2 of=n bs=100 count=3; info n", "dd if=d.qcow2 of=n bs=1M count=100 skip=1; info n",
	"dd -f raw if=d.raw of=n bs=3000 count=7 skip=1; info n", "dd if=d.qcow2 of=n bs=1k skip=100000; info n",
	"dd if=d.qcow2 of=n bs=512 skip=99999999999 count=4", "dd if=nosuch of=n",
}

// knownDifferences are cases where we differ on purpose, or not yet do the same.
var knownDifferences = map[string]string{
	"create -o help": "preallocation is an option of our raw driver, of QEMU's file driver",
	"info --image-opts driver=raw,file.filename=a.raw,offset=512,size=1024": "the members of descriptions are sorted",
	"create -o preallocation=metadata n.raw 1M":                             "what is unfinished is removed",
	"snapshot -a x a.raw":                              "QEMU warns twice",
	"bench -o 2M -s 2M -c 4 d.qcow2":                   "the error says what is outside of what",
	"bench -o 16M -c 4 d.qcow2":                        "the error says what is outside of what",
	"convert -O qcow2 -B missing -F qcow2 d.qcow2 n.q": "what is unfinished is removed",
	"convert -t foo d.qcow2 n":                         "options are checked before the target is created",
}

// outcome is what a user sees of a command line.
type outcome struct {
	Stdout, Stderr string
	Status         int
}

func TestParity(t *testing.T) { runParity(t, fixtures, parityCases, knownDifferences) }

// runParity runs each case on copies of the images that the fixtures make.
func runParity(t *testing.T, fixtures, cases []string, known map[string]string) {
	peer.Need(t, "qemu-img", "qemu-io", "cp", "truncate")
	template := makeFixtures(t, fixtures)
	for _, c := range cases {
		t.Run(c, func(t *testing.T) {
			theirs, ours := template, template
			if !readOnly(c) {
				theirs, ours = peer.Copy(t, template), peer.Copy(t, template)
			}
			var differences []string
			for i, line := range strings.Split(c, ";") {
				args, err := shlex.Split(line)
				if err != nil {
					t.Fatal(err)
				}
				want, got := runPeer(t, theirs, args), runOurs(t, ours, args)
				if diff := cmp.Diff(want, got); diff != "" {
					differences = append(differences, fmt.Sprintf("command %d, %q (-qemu-img +ours):\n%s", i+1, args, diff))
				}
			}
			differences = append(differences, imageDifferences(t, theirs, ours)...)
			switch reason := known[c]; {
			case reason == "":
				for _, d := range differences {
					t.Error(d)
				}
			case len(differences) == 0:
				t.Errorf("the same now, but listed as: %s", reason)
			}
		})
	}
}

// readOnly tells if a case leaves its images alone, so that it needs no copies.
func readOnly(c string) bool {
	for line := range strings.SplitSeq(c, ";") {
		switch command, _, _ := strings.Cut(strings.TrimSpace(line), " "); command {
		case "info", "map", "compare", "measure":
		case "check":
			if strings.Contains(line, " -r ") {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func makeFixtures(t *testing.T, fixtures []string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	peer.Make(t, dir, fixtures)
	return dir
}

// runPeer runs the real qemu-img.
func runPeer(t *testing.T, dir string, args []string) outcome {
	t.Helper()
	for attempt := 1; ; attempt++ {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command("qemu-img", args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if !peer.Again(attempt, stderr.String()) {
			return normalize(stdout.String(), stderr.String(), cmd.ProcessState.ExitCode())
		}
	}
}

// runOurs runs the same within the test.
func runOurs(t *testing.T, dir string, args []string) outcome {
	t.Helper()
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	tool := &tool{ctx: context.Background(), prog: "qemu-img", stdout: &stdout, stderr: &stderr}
	status := tool.main(args)
	return normalize(stdout.String(), stderr.String(), status)
}

// varying are the parts of the output that may differ from run to run, or with how a
// file was written.
var varying = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`disk size: .*`), "disk size: SIZE"},
	{regexp.MustCompile(`"actual-size": \d+`), `"actual-size": SIZE`},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "YYYY-MM-DD hh:mm:ss"},
	{regexp.MustCompile(`"date-n?sec": \d+`), `"date": DATE`},
	{regexp.MustCompile(`#block\d+`), "#NODE"},
	{regexp.MustCompile(`completed in [0-9.]+ seconds`), "completed in TIME"},
}

func normalize(stdout, stderr string, status int) outcome {
	for _, v := range varying {
		stdout = v.pattern.ReplaceAllString(stdout, v.with)
		stderr = v.pattern.ReplaceAllString(stderr, v.with)
	}
	return outcome{stdout, stderr, status}
}

// imageDifferences has the real qemu-img look at what both sides left behind.
func imageDifferences(t *testing.T, theirs, ours string) (differences []string) {
	t.Helper()
	add := func(what string, diff any) { differences = append(differences, fmt.Sprintf("%s:\n%v", what, diff)) }
	names := imagesIn(t, theirs)
	if diff := cmp.Diff(names, imagesIn(t, ours)); diff != "" {
		add("files (-qemu-img's +ours)", diff)
		return differences
	}
	for _, name := range names {
		if sameFile(t, filepath.Join(theirs, name), filepath.Join(ours, name)) {
			continue
		}
		info := []string{"info", "--output=json", name}
		if diff := cmp.Diff(runPeer(t, theirs, info), runPeer(t, ours, info)); diff != "" {
			add(name+" (-qemu-img's +ours)", diff)
		}
		if name == "orphan.qcow2" || name == "corrupt.qcow2" {
			continue
		}
		if got := runPeer(t, ours, []string{"check", name}); got.Status != statusOK && got.Status != statusNotSupported {
			add("check of our "+name, got)
		}
		both := []string{"compare", filepath.Join(theirs, name), filepath.Join(ours, name)}
		if got := runPeer(t, ours, both); got.Status != statusOK && !strings.Contains(got.Stderr, "Could not open") {
			add("comparison with our "+name, got)
		}
	}
	return differences
}

func imagesIn(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*", "sub/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
				name, _ := filepath.Rel(dir, f)
				names = append(names, name)
			}
		}
	}
	return names
}

// sameFile tells if two files hold the same. Those that nobody wrote, which have the time
// of the fixture still, are not read.
func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	stats := make([]os.FileInfo, 2)
	contents := make([][]byte, 2)
	for i, name := range []string{a, b} {
		var err error
		if stats[i], err = os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	if stats[0].Size() != stats[1].Size() || stats[0].Size() > 64<<20 {
		return false
	}
	if stats[0].ModTime().Equal(stats[1].ModTime()) {
		return true
	}
	for i, name := range []string{a, b} {
		var err error
		if contents[i], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.Equal(contents[0], contents[1])
}
