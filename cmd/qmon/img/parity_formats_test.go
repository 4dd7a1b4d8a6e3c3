package img

import "testing"

// formatFixtures are images of the simple formats, by the real qemu-img: a.* are empty, d.*
// have data.
var formatFixtures = []string{
	"qemu-img create -q -f qcow2 d.qcow2 3M",
	"qemu-io -f qcow2 -c 'write -P 5 256k 1M' -c 'write -z 2M 128k' d.qcow2",
	"qemu-img convert -O raw d.qcow2 d.raw",

	"qemu-img create -q -f vdi a.vdi 1M",
	"qemu-img convert -O vdi d.qcow2 d.vdi",
	"qemu-img create -q -f vdi -o static=on static.vdi 2M",
	"cp a.vdi count.vdi",
	`sh -c "printf '\\003' | dd of=count.vdi bs=1 seek=388 conv=notrunc status=none"`,

	"qemu-img create -q -f vpc a.vhd 1M",
	"qemu-img convert -O vpc d.qcow2 d.vhd",
	"qemu-img convert -O vpc -o force_size=on d.qcow2 forced.vhd",
	"qemu-img convert -O vpc -o subformat=fixed d.qcow2 fixed.vhd",

	"qemu-img create -q -f parallels a.hds 1M",
	"qemu-img convert -O parallels -o cluster_size=64k d.qcow2 d.hds",
	"cp d.hds leaky.hds",
	"truncate -s +100k leaky.hds",
	"cp d.hds open.hds",
	`sh -c "printf Ynot | dd of=open.hds bs=1 seek=44 conv=notrunc status=none"`,

	"qemu-img create -q -f qed a.qed 1M",
	"qemu-img convert -O qed d.qcow2 d.qed",
	"qemu-img create -q -f qed -b d.raw -F raw o.qed 4M",
	"qemu-io -f qed -c 'write -P 7 1M 128k' -c 'write -z 0 64k' o.qed",
	"cp d.qed leaky.qed",
	"truncate -s +192k leaky.qed",
	"cp d.qed dirty.qed",
	`sh -c "printf '\\002' | dd of=dirty.qed bs=1 seek=16 conv=notrunc status=none"`,

	"qemu-img create -q -f qcow a.qcow 1M",
	"qemu-img convert -O qcow d.qcow2 d.qcow",
	"qemu-img create -q -f qcow -b d.raw -F raw o.qcow 4M",
	"qemu-io -f qcow -c 'write -P 7 1M 128k' o.qcow",
	"sh -c 'qemu-img convert -c -O qcow d.qcow2 c.qcow || true'", // it fails after all is written
}

// formatCases are command lines as in parityCases.
var formatCases = []string{
	// create
	"create -f vdi n.vdi 1M; info n.vdi", "create -f vdi n.vdi 1000; info n.vdi", "create -f vdi n.vdi 0; info n.vdi",
	"create -f vdi -o static=on n.vdi 3M; map --output=json n.vdi; check n.vdi", "create -f vdi -o static=maybe n.vdi 1M",
	"create -f vdi -o static=on,preallocation=full n.vdi 3M", "create -f vdi -o preallocation=metadata n.vdi 1M",
	"create -f vdi -o preallocation=foo n.vdi 1M", "create -f vdi -o block_size=2M n.vdi 1M",
	"create -f vdi -b d.raw -F raw n.vdi", "create -f vdi n.vdi 600T", "create -f vdi -o help", "create -f vdi n.vdi",
	"create -f vpc n.vhd 1M; info n.vhd", "create -f vpc -o force_size=on n.vhd 1M; info n.vhd", "create -f vpc n.vhd 0; info n.vhd",
	"create -f vpc -o subformat=fixed n.vhd 1M; info -f vpc n.vhd; info n.vhd", "create -f vpc -o subformat=foo n.vhd 1M",
	"create -f vpc -o subformat=fixed,preallocation=full,force_size n.vhd 1M", "create -f vpc n.vhd 3T", "create -f vpc n.vhd 128G; info n.vhd",
	"create -f vpc -o help n.vhd", "create -f vpc -b d.raw -F raw n.vhd",
	"create -f parallels n.hds 1M; info n.hds", "create -f parallels -o cluster_size=63k n.hds 1000; info n.hds; check n.hds",
	"create -f parallels -o cluster_size=2G n.hds 1M", "create -f parallels -o cluster_size=0 n.hds 1M",
	"create -f parallels n.hds 4096T", "create -f parallels -o help", "create -f parallels -b d.raw -F raw n.hds",
	"create -f qed n.qed 1M; info n.qed", "create -f qed -o cluster_size=4k n.qed 1000; info n.qed; check n.qed",
	"create -f qed -o cluster_size=1000 n.qed 1M", "create -f qed -o cluster_size=128M n.qed 1M", "create -f qed -o table_size=3 n.qed 1M",
	"create -f qed -o table_size=16 n.qed 1M; check n.qed", "create -f qed n.qed 65T", "create -f qed -o help",
	"create -f qed -b d.raw -F raw n.qed; info n.qed", "create -f qed -b d.qcow2 -F qcow2 n.qed; info --backing-chain n.qed",
	"create -f qcow n.qcow 1M; info n.qcow", "create -f qcow n.qcow 0", "create -f qcow n.qcow 1000; info n.qcow",
	"create -f qcow -b d.raw -F raw n.qcow; info n.qcow", "create -f qcow -o cluster_size=4k n.qcow 1M", "create -f qcow -o help",
	// info
	"info a.vdi", "info d.vdi", "info static.vdi", "info --output=json d.vdi", "info -f vdi a.vhd", "info -f qed d.vdi",
	"info a.vhd", "info d.vhd", "info forced.vhd", "info --output=json d.vhd", "info -f vpc --output=json fixed.vhd", "info fixed.vhd",
	"info --image-opts driver=vpc,file.filename=a.vhd,force_size_calc=foo",
	"info a.hds", "info --output=json d.hds", "info open.hds", "info -f parallels d.raw",
	"info a.qed", "info o.qed", "info dirty.qed", "info --output=json o.qed", "info --backing-chain o.qed", "info --output=json dirty.qed",
	"info a.qcow", "info o.qcow", "info c.qcow", "info --output=json o.qcow", "info --output=json --backing-chain o.qcow", "info -f qcow d.qcow2",
	// check
	"check a.vdi", "check d.vdi", "check static.vdi", "check count.vdi", "check --output=json count.vdi", "check --output=json d.vdi",
	"check a.vhd", "check -f vpc fixed.vhd", "check --output=json d.vhd",
	"check a.hds", "check d.hds", "check leaky.hds", "check open.hds", "check --output=json d.hds", "check --output=json leaky.hds",
	"check a.qed", "check d.qed", "check o.qed", "check leaky.qed", "check dirty.qed", "check --output=json d.qed", "check --output=json leaky.qed",
	"check a.qcow", "check c.qcow", "check --output=json o.qcow",
	// map
	"map a.vdi", "map d.vdi", "map --output=json a.vdi", "map --output=json d.vdi", "map --output=json static.vdi",
	"map a.vhd", "map d.vhd", "map --output=json a.vhd", "map --output=json d.vhd", "map -f vpc --output=json fixed.vhd",
	"map a.hds", "map d.hds", "map --output=json a.hds", "map --output=json d.hds",
	"map a.qed", "map d.qed", "map o.qed", "map --output=json d.qed", "map --output=json o.qed",
	"map a.qcow", "map d.qcow", "map o.qcow", "map c.qcow", "map --output=json d.qcow", "map --output=json o.qcow", "map --output=json c.qcow",
	// compare and convert
	"compare d.vdi d.raw", "compare d.vhd d.raw", "compare forced.vhd d.raw", "compare -f vpc fixed.vhd d.raw", "compare d.hds d.raw", "compare d.qed d.raw",
	"compare d.qcow d.raw", "compare c.qcow d.raw", "compare o.qed o.qcow",
	"convert -O vdi d.raw n.vdi; check n.vdi; compare n.vdi d.raw; map --output=json n.vdi", "convert -O vdi -o static=on d.raw n.vdi; compare n.vdi d.raw",
	"convert -O vpc d.raw n.vhd; compare n.vhd d.raw; info n.vhd", "convert -O vpc -o force_size=on d.raw n.vhd; compare n.vhd d.raw; map --output=json n.vhd",
	"convert -O vpc -o subformat=fixed,force_size=on d.raw n.vhd; compare -f vpc n.vhd d.raw",
	"convert -O parallels d.raw n.hds; check n.hds; compare n.hds d.raw; map --output=json n.hds", "convert -O parallels -o cluster_size=64k d.qcow2 n.hds; check n.hds; map n.hds",
	"convert -O qed d.raw n.qed; check n.qed; compare n.qed d.raw", "convert -O qed -B d.raw -F raw o.qed n.qed; compare n.qed o.qed; info n.qed",
	"convert -O qcow d.raw n.qcow; compare n.qcow d.raw", "convert -O qcow -B d.raw -F raw o.qcow n.qcow; compare n.qcow o.qcow; info n.qcow",
	"convert -O raw d.vdi n; compare n d.raw", "convert -O qcow2 d.vhd n; compare n d.raw", "convert d.hds n; compare n d.raw", "convert o.qed n; compare n o.qcow",
	"convert c.qcow n; compare n d.raw", "convert -c -O vdi d.raw n.vdi", "convert -c -O vpc d.raw n", "convert -c -O parallels d.raw n", "convert -c -O qed d.raw n",
	"convert -O vdi -B d.raw -F raw d.raw n.vdi", "convert -n -O vdi d.raw static.vdi", "convert -O parallels open.hds n.hds; check n.hds",
	"convert -O vpc a.vdi n.vhd; convert -O parallels n.vhd n.hds; convert -O qed n.hds n.qed; convert -O qcow n.qed n.qcow; compare n.qcow a.vdi",
	// resize, commit, snapshots
	"resize a.vdi 2M", "resize a.vhd 2M", "resize -f vpc fixed.vhd 2M", "resize a.hds 2M", "resize a.qcow 2M", "resize a.qed 2M; info a.qed; check a.qed", "resize a.qed +1M",
	"resize a.qed 512k", "resize --shrink a.qed 512k", "resize --preallocation=full a.qed 2M", "resize a.qed 65T", "resize o.qed 5M; map --output=json o.qed",
	"snapshot -l a.vdi", "snapshot -c x a.qed", "commit a.vdi", "commit o.qed; check o.qed; info d.raw",
	"commit o.qcow; map --output=json o.qcow; info d.raw",
	"convert -c -O qcow d.raw n.qcow; compare n.qcow d.raw",
	"check -r leaks leaky.hds; check leaky.hds", "check -r all open.hds; check open.hds", "check -r leaks open.hds; check open.hds",
	"check -r all dirty.qed; check dirty.qed", "check -r leaks leaky.qed", "check -r all count.vdi", "check -r all d.vhd", "check -r all d.qcow",
	"resize open.hds 9M", "convert -n -O parallels d.raw open.hds",
}

// formatDifferences are those of formatCases that differ on purpose.
var formatDifferences = map[string]string{
	"create -f vdi -o preallocation=metadata n.vdi 1M":                                        unfinished,
	"create -f vdi -o preallocation=foo n.vdi 1M":                                             "words of the file driver",
	"create -f vdi n.vdi 600T":                                                                unfinished,
	"create -f vpc -o subformat=foo n.vhd 1M":                                                 unfinished,
	"create -f vpc n.vhd 3T":                                                                  unfinished,
	"create -f parallels -o cluster_size=2G n.hds 1M":                                         unfinished,
	"create -f parallels -o cluster_size=0 n.hds 1M":                                          unfinished,
	"create -f parallels n.hds 4096T":                                                         unfinished,
	"create -f qed -o cluster_size=1000 n.qed 1M":                                             unfinished,
	"create -f qed -o cluster_size=128M n.qed 1M":                                             unfinished,
	"create -f qed -o table_size=3 n.qed 1M":                                                  unfinished,
	"create -f qed n.qed 65T":                                                                 unfinished,
	"create -f qcow n.qcow 0":                                                                 unfinished,
	"create -f vpc -o subformat=fixed n.vhd 1M; info -f vpc n.vhd; info n.vhd":                footerBytes,
	"create -f vpc -o subformat=fixed,preallocation=full,force_size n.vhd 1M":                 footerBytes,
	"convert -O vpc -o subformat=fixed,force_size=on d.raw n.vhd; compare -f vpc n.vhd d.raw": footerBytes,

	"convert -c -O qcow d.raw n.qcow; compare n.qcow d.raw": "QEMU fails, without a word, after it has written all",

	"check -r leaks open.hds; check open.hds": "QEMU clears the flag that it complains about, though it was not to repair errors",

	"info dirty.qed":               "QEMU checks the image first, and then it is clean",
	"info --output=json dirty.qed": "QEMU checks the image first, and then it is clean",
}

const (
	unfinished  = "what is unfinished is removed"
	footerBytes = "the footer, with its time and UUID, is data to who probes raw"
)

func TestParityOfSimpleFormats(t *testing.T) {
	runParity(t, formatFixtures, formatCases, formatDifferences)
}
