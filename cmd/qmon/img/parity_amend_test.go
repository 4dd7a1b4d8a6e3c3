package img

import "testing"

// amendCases are compared as parityCases are.
var amendCases = []string{
	"amend", "amend a.qcow2", "amend -o compat=v3", "amend -o compat=v3 a.qcow2 d.qcow2", "amend -o '' a.qcow2",
	"amend -f raw -o size=3 a.raw", "amend -f raw -o help", "amend -f foo -o help", "amend -f vpc -o help", "amend --foo",
	"amend -t foo -o compat=v3 a.qcow2", "amend --image-opts -f qcow2 -o compat=v3 a", "amend -o compat=v3 missing",
	"amend -o foo=bar a.qcow2", "amend -o preallocation=off a.qcow2", "amend -o cluster_size=4k a.qcow2",
	"amend -p -o compat=v3 a.qcow2", "amend -p -q -o compat=v3 a.qcow2", "amend --force -o compat=v2 a.qcow2; info a.qcow2",
	"amend -o compat=0.42 a.qcow2", "amend -o compat=0.10 a.qcow2; info a.qcow2", "amend -o compat=1.1 v2.qcow2; info v2.qcow2",
	"amend -o compat=v2 d.qcow2; check d.qcow2; compare d.qcow2 d.raw", "amend -o compat=v2 odd.qcow2",
	"convert o.qcow2 before; amend -o compat=v2 o.qcow2; check o.qcow2; compare o.qcow2 before",
	"amend -o compat=v2 s.qcow2; check s.qcow2; info s.qcow2; amend -o compat=v3 s.qcow2; check s.qcow2; snapshot -a one s.qcow2; compare s.qcow2 d.raw",
	"amend -o size=4M s.qcow2; amend -o compat=v2 s.qcow2",
	"amend -o refcount_bits=3 a.qcow2", "amend -o refcount_bits=0 a.qcow2", "amend -o refcount_bits=128 a.qcow2",
	"amend -o refcount_bits=8 v2.qcow2", "amend -o refcount_bits=8,compat=v3 v2.qcow2; info v2.qcow2", "amend -o compat=v2,refcount_bits=8 a.qcow2",
	"amend -o refcount_bits=1 a.qcow2; info a.qcow2; check -q a.qcow2", "amend -o refcount_bits=64 s.qcow2; check -q s.qcow2; snapshot -d one s.qcow2; check -q s.qcow2",
	"amend -o refcount_bits=1 s.qcow2", "amend -o refcount_bits=16,compat=v2 odd.qcow2; info odd.qcow2; check -q odd.qcow2",
	"amend -o lazy_refcounts=on a.qcow2; info a.qcow2; amend -o lazy_refcounts=off a.qcow2; info a.qcow2",
	"amend -o lazy_refcounts=on,compat=v2 a.qcow2", "amend -o lazy_refcounts=on v2.qcow2", "amend -o compat=v2 odd.qcow2; amend -o lazy_refcounts=maybe a.qcow2",
	"amend -o backing_file=d.qcow2,backing_fmt=qcow2 a.qcow2", "amend -o backing_file=d.qcow2,backing_fmt=qcow2 o.qcow2",
	"amend -o backing_fmt=raw o.qcow2", "amend -o backing_file= o.qcow2",
	"amend -o size=2M a.qcow2; info a.qcow2", "amend -o size=512k a.qcow2; info a.qcow2", "amend -o size=100 a.qcow2", "amend -o size=foo a.qcow2",
	"amend -o size=1E a.qcow2", "amend -o size=2M v2.qcow2; snapshot -c x v2.qcow2; amend -o size=3M,compat=v3 v2.qcow2; info -U a.qcow2",
	"amend --image-opts -o size=2M driver=qcow2,file.filename=a.qcow2; info a.qcow2",
}

func TestAmendParity(t *testing.T) { runParity(t, fixtures, amendCases, nil) }
