package img

import "testing"

// virtualMachineFixtures are images of VMware's and Hyper-V's formats, by the real qemu-img.
var virtualMachineFixtures = []string{
	"qemu-img create -q -f qcow2 d.qcow2 3M",
	"qemu-io -f qcow2 -c 'write -P 5 256k 1M' -c 'write -z 2M 128k' d.qcow2",
	"qemu-img convert -O raw d.qcow2 d.raw",

	"qemu-img convert -O vhdx d.qcow2 d.vhdx",
	"qemu-img convert -O vhdx -o subformat=fixed d.qcow2 fixed.vhdx",

	"qemu-img convert -O vmdk d.qcow2 d.vmdk",
	"qemu-img convert -O vmdk -o subformat=monolithicFlat d.qcow2 flat.vmdk",
	"qemu-img convert -O vmdk -o subformat=twoGbMaxExtentSparse d.qcow2 split.vmdk",
	"qemu-img convert -O vmdk -o subformat=streamOptimized d.qcow2 stream.vmdk",
	"touch empty",
	"sh -c 'echo a note >note'",
	`sh -c 'printf "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n" >typeless.vmdk'`,
	"qemu-img create -q -f vmdk -b d.vmdk -F vmdk o.vmdk 4M",
	"qemu-io -f vmdk -c 'write -P 7 1M 128k' o.vmdk",
}

// virtualMachineCases are command lines as in parityCases.
var virtualMachineCases = []string{
	"create -f vhdx -o help", "create -f vhdx n.vhdx 1M; info n.vhdx; check n.vhdx", "create -f vhdx n.vhdx 65T",
	"create -f vhdx -o block_size=3M n.vhdx 1M", "create -f vhdx -o log_size=4G n.vhdx 1M", "create -f vhdx -o subformat=x n.vhdx 1M",
	"create -f vhdx -b d.raw -F raw n.vhdx", "create -f vhdx -o subformat=fixed,log_size=2M n.vhdx 1M; check n.vhdx",
	"check d.vhdx", "check --output=json fixed.vhdx", "check -r all d.vhdx",
	"compare d.vhdx d.raw", "compare fixed.vhdx d.qcow2", "convert -f vhdx -O raw d.vhdx n.raw; compare n.raw d.raw",
	"resize d.vhdx 5M", "resize --shrink d.vhdx 1M", "snapshot -l d.vhdx", "snapshot -c a d.vhdx",

	"create -f vmdk -o help", "create -f vmdk n.vmdk 1M; check n.vmdk", "create -f vmdk -o subformat=x n.vmdk 1M",
	"create -f vmdk -o adapter_type=x n.vmdk 1M", "create -f vmdk -o compat6,hwversion=4 n.vmdk 1M",
	"create -f vmdk -o subformat=monolithicFlat,zeroed_grain=on n.vmdk 1M",
	"create -f vmdk -b d.raw -F raw n.vmdk", "create -f vmdk -b d.vmdk -F vmdk -o subformat=monolithicFlat n.vmdk",
	"create -f vmdk -o subformat=twoGbMaxExtentFlat,toolsversion=3,adapter_type=lsilogic n.vmdk 3M; check n.vmdk",
	"info -f vmdk d.qcow2", "info -f vmdk empty", "info -f vmdk note", "info -f vmdk typeless.vmdk",
	"info d.vmdk", "info --output=json flat.vmdk", "info split.vmdk", "info --output=json stream.vmdk", "info --backing-chain o.vmdk",
	"check d.vmdk", "check --output=json split.vmdk", "check stream.vmdk", "check flat.vmdk", "check -r all d.vmdk",
	"map d.vmdk", "map --output=json d.vmdk", "map --output=json split.vmdk", "map --output=json stream.vmdk", "map --output=json o.vmdk",
	"compare d.vmdk d.raw", "compare flat.vmdk stream.vmdk", "compare split.vmdk d.vmdk", "compare o.vmdk d.vmdk",
	"convert -f vmdk -O raw o.vmdk n.raw; compare n.raw o.vmdk", "convert -O vmdk -o subformat=streamOptimized d.raw n.vmdk; compare n.vmdk d.raw",
	"resize d.vmdk 5M", "resize --shrink flat.vmdk 1M", "snapshot -l d.vmdk", "snapshot -c a d.vmdk",
	"rebase -u -b other.vmdk -F vmdk o.vmdk", "commit o.vmdk; compare d.vmdk d.raw",
}

func TestVMwareAndHyperVLikeQEMU(t *testing.T) {
	runParity(t, virtualMachineFixtures, virtualMachineCases, virtualMachineDifferences)
}

// virtualMachineDifferences are those of the cases that differ on purpose.
var virtualMachineDifferences = map[string]string{
	"commit o.vmdk; compare d.vmdk d.raw":       "the reason is said: the parent cannot become longer",
	"create -f vhdx n.vhdx 65T":                 unfinished,
	"create -f vhdx -o block_size=3M n.vhdx 1M": unfinished,
	"create -f vhdx -o log_size=4G n.vhdx 1M":   unfinished,
	"create -f vhdx -o subformat=x n.vhdx 1M":   unfinished,
	"create -f vmdk n.vmdk 1M; check n.vmdk":    randomCID,
	"create -f vmdk -o subformat=twoGbMaxExtentFlat,toolsversion=3,adapter_type=lsilogic n.vmdk 3M; check n.vmdk": randomCID,
	"convert -O vmdk -o subformat=streamOptimized d.raw n.vmdk; compare n.vmdk d.raw":                             randomCID,
}

const randomCID = "a content identifier is random"
