// The prompt and its commands.

#include "guest.h"

#define MAX_LINE 128
#define MAX_WORDS 5

// Space for commands that look at sectors without naming memory.
#define BUFFER_SECTORS 64
static u8 buffer[BUFFER_SECTORS * SECTOR] __attribute__((aligned(4096)));

static u64 counter; // seconds counted by count
static char *words[MAX_WORDS];
static u64 values[MAX_WORDS];

static void say(const char *s)
{
	put(s);
	put("\n");
}

static void help(void)
{
	say("help                          this text\n"
	    "info                          what the machine and its disks say\n"
	    "count                         count seconds, on and on, until a key is pressed\n"
	    "show  DISK SECTOR             a sector in hexadecimal\n"
	    "text  DISK SECTOR WORD        write a word into a sector\n"
	    "read  DISK SECTOR COUNT ADDR  sectors into memory\n"
	    "write DISK SECTOR COUNT ADDR  memory into sectors\n"
	    "dsum  DISK SECTOR COUNT       CRC-32 of sectors\n"
	    "cd                            what the CD says\n"
	    "eject, load                   open and close the CD drive's tray\n"
	    "peek  ADDR COUNT              memory in hexadecimal\n"
	    "poke  ADDR VALUE              write a 64-bit word to memory\n"
	    "sum   ADDR COUNT              CRC-32 of memory\n"
	    "off, reboot                   the machine's switches\n"
	    "Numbers: decimal, 0x hexadecimal, with k or m. Free memory begins at 0x80100000.");
}

static void info(void)
{
	put("memory: ");
	put_dec(ram_size() >> 20);
	put(" MiB at 0x80000000; running for ");
	put_dec(now() / TICKS_PER_SECOND);
	say(" s");
	for (int i = 0; i < disk_count; i++) {
		struct disk *d = &disks[i];
		put("disk ");
		put_dec(i);
		put(": ");
		put_dec(d->sectors);
		put(" sectors (");
		put_dec(d->sectors >> 11);
		put(" MiB), ");
		put(disk_read_only(d) ? "read-only" : "writable");
		put(d->serial[0] ? ", serial " : ", no serial");
		put(d->serial);
		put(d->device.version == 2 ? ", modern virtio at 0x" : ", legacy virtio at 0x");
		put_hex(d->device.registers, 8);
		put("\n");
	}
	if (!disk_count)
		say("no disks");
	cd_look();
}

// count adds a second at a time; after loadvm it goes on from where it was saved.
static void count(void)
{
	u64 next = now() + TICKS_PER_SECOND;
	say("Press a key to stop.");
	while (!key_waiting()) {
		put("\rcount ");
		put_dec(counter);
		wake_at(next);
		wait_for_interrupt();
		if (now() >= next) {
			counter++;
			next += TICKS_PER_SECOND;
		}
	}
	wake_at(~0UL);
	read_key();
	put("\n");
}

static void dump(u64 label, const u8 *p, u64 n)
{
	for (u64 i = 0; i < n; i += 16) {
		put_hex(label + i, 8);
		put(":");
		for (u64 j = i; j < i + 16; j++) {
			put(" ");
			if (j < n)
				put_hex(p[j], 2);
			else
				put("  ");
		}
		put("  ");
		for (u64 j = i; j < i + 16 && j < n; j++)
			put_char(p[j] >= ' ' && p[j] < 127 ? p[j] : '.');
		put("\n");
	}
}

// the_disk is the disk of the command, nothing if there is none of that number.
static struct disk *the_disk(void)
{
	if (values[1] < (u64)disk_count)
		return &disks[values[1]];
	say("no such disk; info lists them");
	return 0;
}

static int transfer(int write, u64 sector, u64 count, void *memory)
{
	struct disk *d = the_disk();
	const char *wrong = d ? disk_transfer(d, write, sector, count, memory) : 0;
	if (wrong)
		say(wrong);
	return d && !wrong;
}

static void show(void)
{
	if (transfer(0, values[2], 1, buffer))
		dump(values[2] * SECTOR, buffer, SECTOR);
}

static void text(void)
{
	memset(buffer, 0, SECTOR);
	char *w = words[3];
	for (u64 i = 0; w[i] && i < SECTOR; i++)
		buffer[i] = w[i];
	if (transfer(1, values[2], 1, buffer))
		say("written");
}

static void move(int write)
{
	if (values[3] > ram_size() / SECTOR || !ram_holds(values[4], values[3] * SECTOR)) {
		say("that is not in memory");
		return;
	}
	if (transfer(write, values[2], values[3], (void *)values[4])) {
		put_dec(values[3]);
		say(write ? " sectors written" : " sectors read");
	}
}

static void read(void) { move(0); }
static void write(void) { move(1); }

static void put_sum(u32 sum)
{
	put("CRC-32 ");
	put_hex(sum, 8);
	put("\n");
}

static void dsum(void)
{
	u32 sum = 0;
	u64 sector = values[2], left = values[3];
	while (left) {
		u64 n = left < BUFFER_SECTORS ? left : BUFFER_SECTORS;
		if (!transfer(0, sector, n, buffer))
			return;
		sum = crc32(sum, buffer, n * SECTOR);
		sector += n;
		left -= n;
	}
	put_sum(sum);
}

static void eject(void) { cd_tray(1); }
static void load(void) { cd_tray(0); }

static void peek(void) { dump(values[1], (const u8 *)values[1], values[2]); }
static void poke(void) { *(volatile u64 *)values[1] = values[2]; }
static void sum(void) { put_sum(crc32(0, (const void *)values[1], values[2])); }

static const struct command {
	const char *name;
	int words;	 // with the name
	int numbers; // how many of the words behind it are numbers
	void (*run)(void);
} commands[] = {
	{ "help", 1, 0, help },	  { "info", 1, 0, info },   { "count", 1, 0, count },
	{ "show", 3, 2, show },	  { "text", 4, 2, text },   { "read", 5, 4, read },
	{ "write", 5, 4, write }, { "dsum", 4, 3, dsum },   { "peek", 3, 2, peek },
	{ "poke", 3, 2, poke },	  { "sum", 3, 2, sum },	    { "off", 1, 0, power_off },
	{ "reboot", 1, 0, reboot }, { "cd", 1, 0, cd_look },  { "eject", 1, 0, eject },
	{ "load", 1, 0, load },
};

// split cuts a line into words and returns how many there are; one too many counts.
static int split(char *line)
{
	int n = 0;
	for (;;) {
		while (*line == ' ')
			*line++ = 0;
		if (!*line)
			return n;
		if (n == MAX_WORDS)
			return n + 1;
		words[n++] = line;
		while (*line && *line != ' ')
			line++;
	}
}

static void execute(char *line)
{
	int n = split(line);
	if (!n)
		return;
	for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
		const struct command *c = &commands[i];
		if (!same(words[0], c->name))
			continue;
		if (n != c->words) {
			say("not the right number of words; help lists the commands");
			return;
		}
		for (int j = 1; j <= c->numbers; j++)
			if (!number(words[j], &values[j])) {
				put(words[j]);
				say(" is not a number");
				return;
			}
		c->run();
		return;
	}
	put(words[0]);
	say("? help lists the commands");
}

// read_line edits a line: backspace, C-u and C-c.
static void read_line(char *line)
{
	int n = 0;
	for (;;) {
		int c = read_key();
		if (c == '\r' || c == '\n') {
			put("\n");
			line[n] = 0;
			return;
		}
		if (c == 3) {
			put("^C\n");
			line[0] = 0;
			return;
		}
		int erase = c == 8 || c == 127 ? n > 0 : c == 21 ? n : 0;
		while (erase--) {
			put("\b \b");
			n--;
		}
		if (c >= ' ' && c < 127 && n < MAX_LINE - 1) {
			put_char(c);
			line[n++] = c;
		}
	}
}

static void __attribute__((noreturn)) prompt(void)
{
	static char line[MAX_LINE];
	for (;;) {
		put("guest> ");
		read_line(line);
		execute(line);
	}
}

// fault is where the trap vector goes.
void fault(u64 cause, u64 address)
{
	put("\nfault ");
	put_dec(cause);
	put(" at 0x");
	put_hex(address, 16);
	put("\n");
	prompt();
}

void main(const void *tree)
{
	board_init(tree);
	disk_init();
	cd_init();
	say("\nqmon's built-in guest. Type help.");
	prompt();
}
