// The board: UART with its interrupt, timer, PLIC, power switch, size of RAM.

#include "guest.h"

#define FINISHER ((volatile u32 *)0x100000UL)
#define MTIMECMP ((volatile u64 *)0x2004000UL)
#define MTIME ((volatile u64 *)0x200bff8UL)
#define PLIC 0x0c000000UL
#define PLIC_ENABLE ((volatile u32 *)(PLIC + 0x2000))
#define PLIC_CLAIM ((volatile u32 *)(PLIC + 0x200004))
#define UART ((volatile u8 *)0x10000000UL)
#define UART_IRQ 10
#define RAM_BASE 0x80000000UL

#define MIP_TIMER (1UL << 7)
#define MIP_EXTERNAL (1UL << 11)

static u64 ram;
static char keys[64];
static unsigned keys_in, keys_out;

static u32 big_endian(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static int starts_with(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return 0;
	return 1;
}

// find_ram walks the flattened device tree to the node of the memory.
static void find_ram(const u8 *tree)
{
	const u8 *p = tree + big_endian(tree + 8);
	const u8 *names = tree + big_endian(tree + 12);
	int in_memory = 0;
	for (;;) {
		u32 token = big_endian(p), length;
		p += 4;
		switch (token) {
		case 1: // node
			in_memory = starts_with((const char *)p, "memory@");
			for (length = 1; p[length - 1]; length++)
				;
			p += (length + 3) & ~3u;
			break;
		case 3: // property: address and size are two cells each
			length = big_endian(p);
			if (in_memory && same((const char *)names + big_endian(p + 4), "reg"))
				ram = (u64)big_endian(p + 16) << 32 | big_endian(p + 20);
			p += 8 + ((length + 3) & ~3u);
			break;
		case 2: // end of a node
		case 4: // nothing
			break;
		default:
			return;
		}
	}
}

void board_init(const void *tree)
{
	find_ram(tree);
	*MTIMECMP = ~0UL;
	UART[3] = 3; // 8 bits, no parity
	UART[2] = 7; // FIFO on and empty
	UART[4] = 0x0b;
	UART[1] = 1; // interrupt when a byte has come
	for (u32 source = 1; source <= UART_IRQ; source++)
		*(volatile u32 *)(PLIC + 4 * source) = 1;
	*PLIC_ENABLE = 0x7fe; // virtio 1 to 8, and the UART
	asm volatile("csrw mie, %0" ::"r"(MIP_TIMER | MIP_EXTERNAL));
}

u64 ram_size(void) { return ram; }

int ram_holds(u64 addr, u64 size)
{
	return addr >= RAM_BASE && size <= ram && addr - RAM_BASE <= ram - size;
}

// take_keys empties the UART into the program's own buffer.
static void take_keys(void)
{
	while (UART[5] & 1) {
		char c = UART[0];
		if (keys_in - keys_out < sizeof keys)
			keys[keys_in++ % sizeof keys] = c;
	}
}

// wait_for_interrupt sleeps until something has happened, and serves it.
void wait_for_interrupt(void)
{
	u64 pending;
	asm volatile("wfi");
	asm volatile("csrr %0, mip" : "=r"(pending));
	if (pending & MIP_TIMER)
		*MTIMECMP = ~0UL;
	if (pending & MIP_EXTERNAL) {
		u32 source = *PLIC_CLAIM;
		if (source == UART_IRQ)
			take_keys();
		else if (device_interrupt(slot_registers(source)) & 2)
			disk_resized(slot_registers(source));
		*PLIC_CLAIM = source;
	}
}

u64 now(void) { return *MTIME; }
void wake_at(u64 ticks) { *MTIMECMP = ticks; }

int key_waiting(void) { return keys_in != keys_out; }

int read_key(void)
{
	while (!key_waiting())
		wait_for_interrupt();
	return keys[keys_out++ % sizeof keys];
}

void put_char(char c)
{
	if (c == '\n')
		put_char('\r');
	while (!(UART[5] & 0x20))
		;
	UART[0] = c;
}

void put(const char *s)
{
	while (*s)
		put_char(*s++);
}

void put_dec(u64 v)
{
	if (v >= 10)
		put_dec(v / 10);
	put_char('0' + v % 10);
}

void put_hex(u64 v, int digits)
{
	while (digits-- > 0)
		put_char("0123456789abcdef"[v >> (4 * digits) & 15]);
}

static void __attribute__((noreturn)) finish(u32 command)
{
	*FINISHER = command;
	for (;;)
		asm volatile("wfi");
}

void power_off(void) { finish(0x5555); }
void reboot(void) { finish(0x7777); }
