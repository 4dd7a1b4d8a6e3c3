package system

import "io"

// optionDef is one option: it drives parsing and -help.
type optionDef struct {
	name   string
	params string // what follows it, for help; "" for none
	help   string
	set    func(o *options, value string, out io.Writer) error
}

// optionTable holds every option, in the order of -help. It is filled by init because
// -help itself refers to it.
var optionTable []optionDef

func init() {
	optionTable = concat(machineOptions(), driveOptions(), consoleOptions(), runOptions(), declinedOptions())
}

func concat(tables ...[]optionDef) (all []optionDef) {
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

func machineOptions() []optionDef {
	return []optionDef{
		{"h", "", "show this list", printHelp},
		{"help", "", "show this list", printHelp},
		{"version", "", "show the version", printVersion},
		{"machine", "NAME", "the board: virt or none; help lists them", setMachine},
		{"M", "NAME", "the same as -machine", setMachine},
		{"cpu", "MODEL", "the processor: rv64", setString(func(o *options) *string { return &o.cpu })},
		{"accel", "NAME", "accepted: tcg", accept("this accelerator", "tcg")},
		{"smp", "N", "how many processors: 1", setSMP},
		{"m", "SIZE", "memory, in MiB or with a suffix", setMemory},
		{"bios", "FILE", "firmware; none for none, default for the installed one", setString(func(o *options) *string { return &o.bios })},
		{"kernel", "FILE", "kernel: an ELF file or an image", setString(func(o *options) *string { return &o.kernel })},
		{"initrd", "FILE", "initial RAM disk", setString(func(o *options) *string { return &o.initrd })},
		{"append", "TEXT", "the kernel's command line", setString(func(o *options) *string { return &o.append })},
		{"device", "MODEL,...", "add a device: virtio-blk-device,drive=ID,bus=virtio-mmio-bus.N; virtio-scsi-device; scsi-hd or scsi-cd,drive=ID", addList("device", "driver", func(o *options) *[]argument { return &o.devices })},
		{"global", "DRIVER.PROP=VALUE", "set a property of all devices of a kind", addList("global", "", func(o *options) *[]argument { return &o.globals })},
		{"name", "TEXT", "a name for the machine", setName},
		{"uuid", "UUID", "a UUID for the machine", setUUID},
		{"rtc", "base=...", "where the guest's date starts: utc, localtime or a date", setRTC},
		{"icount", "shift=N", "time counts instructions: each takes 2^N ns", setIcount},
	}
}

func driveOptions() []optionDef {
	return []optionDef{
		{"drive", "OPTIONS", "a drive: file=,if=,id=,format=,media=,snapshot=,readonly=,cache=,...", setDriveOptions},
		{"blockdev", "OPTIONS", "a node of the block graph: driver=,node-name=,...", addList("blockdev", "", func(o *options) *[]argument { return &o.blockdevs })},
		{"hda", "FILE", "hard disk 0 is this image", setDrive("hda", "", 0, false)},
		{"hdb", "FILE", "hard disk 1", setDrive("hdb", "", 1, false)},
		{"hdc", "FILE", "hard disk 2", setDrive("hdc", "", 2, false)},
		{"hdd", "FILE", "hard disk 3", setDrive("hdd", "", 3, false)},
		{"cdrom", "FILE", "the CD-ROM's medium", setDrive("cdrom", "", 2, true)},
		{"fda", "FILE", "floppy disk 0", setDrive("fda", "floppy", 0, false)},
		{"fdb", "FILE", "floppy disk 1", setDrive("fdb", "floppy", 1, false)},
		{"snapshot", "", "write to temporary overlays, not to the images", setSwitch(func(o *options) *bool { return &o.snapshot })},
		{"restrict", "DIR", "images may refer to files below this folder only", setRestrict},
	}
}

func consoleOptions() []optionDef {
	return []optionDef{
		{"nographic", "", "serial port and monitor share the terminal: C-a h helps", setSwitch(func(o *options) *bool { return &o.nographic })},
		{"display", "none", "there is no other display", setDisplay},
		{"nodefaults", "", "no default drives, serial port and monitor", setSwitch(func(o *options) *bool { return &o.noDefaults })},
		{"serial", "DEVICE", "where the serial port goes: stdio, mon:stdio, unix:..., tcp:..., pty, ...", addString(func(o *options) *[]string { return &o.serials })},
		{"monitor", "DEVICE", "where the monitor goes", addString(func(o *options) *[]string { return &o.monitors })},
		{"chardev", "OPTIONS", "a character device: BACKEND,id=ID,...", addString(func(o *options) *[]string { return &o.chardevs })},
		{"mon", "chardev=ID", "a monitor on a character device", addList("mon", "chardev", func(o *options) *[]argument { return &o.mons })},
		{"echr", "N", "the multiplexer's escape character instead of 1 (C-a)", setEscape},
		{"script-errors", "", "end with status 1 if a monitor command failed", setSwitch(func(o *options) *bool { return &o.strict })},
	}
}

func runOptions() []optionDef {
	return []optionDef{
		{"S", "", "do not start: wait for the monitor's cont", setSwitch(func(o *options) *bool { return &o.stopped })},
		{"loadvm", "TAG", "start from a VM snapshot", setString(func(o *options) *string { return &o.loadvm })},
		{"no-reboot", "", "a guest's reset ends the program", setSwitch(func(o *options) *bool { return &o.noReboot })},
		{"no-shutdown", "", "a guest's power-off stops the machine only", setSwitch(func(o *options) *bool { return &o.noShutdown })},
		{"pidfile", "FILE", "write the process id there", setString(func(o *options) *string { return &o.pidfile })},
		{"D", "FILE", "the log goes there instead of to standard error", setString(func(o *options) *string { return &o.logFile })},
		{"d", "ITEM,...", "what to log; help lists it", setLogItems},
	}
}

// declinedOptions are QEMU's that scripts often give: accepted where they ask for what is
// so anyway, refused otherwise.
func declinedOptions() []optionDef {
	return []optionDef{
		{"vga", "none", "there is no graphics card", accept("a graphics card", "none")},
		{"net", "none", "there is no network", accept("networking", "none")},
		{"nic", "none", "there is no network", accept("networking", "none")},
		{"parallel", "none", "there is no parallel port", accept("a parallel port", "none")},
		{"audiodev", "none", "there is no sound", accept("sound", "none")},
		{"object", "OPTIONS", "define what options refer to: a secret, TLS credentials, limits", defineObject},
		{"no-user-config", "", "there are no configuration files", func(*options, string, io.Writer) error { return nil }},
		{"qmp", "DEVICE", "not supported", refuse},
		{"gdb", "DEVICE", "not supported", refuse},
		{"incoming", "URI", "not supported", refuse},
		{"daemonize", "", "not supported", refuse},
	}
}
