// Disks: virtio-blk over both versions of virtio-mmio, one request at a time.

#include "guest.h"

#define SLOTS 8
#define SLOT_BASE 0x10001000UL
#define QUEUE 8

#define DESC_NEXT 1
#define DESC_WRITE 2

#define BLK_READ_ONLY (1u << 5)
#define BLK_FLUSH (1u << 9)
#define BLK_READ 0
#define BLK_WRITE 1
#define BLK_GET_FLUSH 4
#define BLK_GET_ID 8

// Registers, as offsets.
enum {
	MAGIC = 0x00, VERSION = 0x04, DEVICE = 0x08, FEATURES = 0x10, FEATURES_SELECT = 0x14,
	ACCEPT = 0x20, ACCEPT_SELECT = 0x24, PAGE_SIZE = 0x28, QUEUE_SELECT = 0x30,
	QUEUE_SIZE = 0x38, QUEUE_ALIGN = 0x3c, QUEUE_PAGE = 0x40, QUEUE_READY = 0x44,
	NOTIFY = 0x50, INTERRUPT = 0x60, ACKNOWLEDGE = 0x64, STATUS = 0x70,
	DESC = 0x80, AVAIL = 0x90, USED = 0xa0, CONFIG = 0x100,
};

struct descriptor {
	u64 addr;
	u32 length;
	u16 flags, next;
};

// A queue as legacy devices want it: the used ring on a page of its own.
struct queue {
	struct descriptor desc[QUEUE];
	u16 avail_flags, avail_index, avail[QUEUE];
	u8 gap[4096 - QUEUE * (sizeof(struct descriptor) + 2) - 4];
	u16 used_flags, used_index;
	struct {
		u32 id, length;
	} used[QUEUE];
	u8 end[4096 - 4 - QUEUE * 8];
};

static struct queue queues[MAX_DISKS] __attribute__((aligned(4096)));
struct disk disks[MAX_DISKS];
int disk_count;

static struct {
	u32 type, reserved;
	u64 sector;
} header;
static volatile u8 status;

static volatile u32 *reg(u64 registers, u64 off) { return (volatile u32 *)(registers + off); }

static void fence(void) { asm volatile("fence rw, rw" ::: "memory"); }

static void set_address(struct disk *d, u64 off, const void *p)
{
	*reg(d->registers, off) = (u32)(u64)p;
	*reg(d->registers, off + 4) = (u32)((u64)p >> 32);
}

// request puts one into the queue and waits for it: header, data if any, status.
static int request(struct disk *d, u32 type, u64 sector, void *data, u64 length, int device_writes)
{
	struct queue *q = &queues[d - disks];
	int n = 0;
	header.type = type;
	header.sector = sector;
	status = 0xff;
	q->desc[n++] = (struct descriptor){ (u64)&header, sizeof header, DESC_NEXT, 1 };
	if (length) {
		q->desc[n] = (struct descriptor){ (u64)data, length,
			DESC_NEXT | (device_writes ? DESC_WRITE : 0), n + 1 };
		n++;
	}
	q->desc[n] = (struct descriptor){ (u64)&status, 1, DESC_WRITE, 0 };
	q->avail[q->avail_index % QUEUE] = 0;
	fence();
	q->avail_index++;
	fence();
	*reg(d->registers, NOTIFY) = 0;
	while (*(volatile u16 *)&q->used_index == d->used)
		wait_for_interrupt();
	d->used++;
	fence();
	return status;
}

static void init(struct disk *d)
{
	struct queue *q = &queues[d - disks];
	u64 r = d->registers;
	*reg(r, STATUS) = 0;
	*reg(r, STATUS) = 1;
	*reg(r, STATUS) = 3;
	*reg(r, FEATURES_SELECT) = 0;
	d->features = *reg(r, FEATURES) & (BLK_READ_ONLY | BLK_FLUSH);
	*reg(r, ACCEPT_SELECT) = 0;
	*reg(r, ACCEPT) = d->features;
	if (d->version == 2) {
		*reg(r, ACCEPT_SELECT) = 1;
		*reg(r, ACCEPT) = 1; // VERSION_1
		*reg(r, STATUS) = 0xb;
	}
	memset(q, 0, sizeof *q);
	d->used = 0;
	*reg(r, QUEUE_SELECT) = 0;
	*reg(r, QUEUE_SIZE) = QUEUE;
	if (d->version == 2) {
		set_address(d, DESC, q->desc);
		set_address(d, AVAIL, &q->avail_flags);
		set_address(d, USED, &q->used_flags);
		*reg(r, QUEUE_READY) = 1;
	} else {
		*reg(r, PAGE_SIZE) = 4096;
		*reg(r, QUEUE_ALIGN) = 4096;
		*reg(r, QUEUE_PAGE) = (u64)q / 4096;
	}
	*reg(r, STATUS) = d->version == 2 ? 0xf : 7;
	d->sectors = *reg(r, CONFIG) | (u64)*reg(r, CONFIG + 4) << 32;
	static char serial[20];
	if (request(d, BLK_GET_ID, 0, serial, sizeof serial, 1) == 0)
		memcpy(d->serial, serial, sizeof serial);
}

// disk_init finds the disks, from the highest slot down as U-Boot and Linux do.
void disk_init(void)
{
	for (int slot = SLOTS - 1; slot >= 0; slot--) {
		u64 r = SLOT_BASE + slot * 0x1000UL;
		if (*reg(r, MAGIC) != 0x74726976 || *reg(r, DEVICE) != 2)
			continue;
		struct disk *d = &disks[disk_count++];
		d->registers = r;
		d->version = *reg(r, VERSION);
		d->device = *reg(r, DEVICE);
		init(d);
	}
}

int disk_read_only(const struct disk *d) { return d->features & BLK_READ_ONLY; }

// disk_interrupt acknowledges what the device in a slot says, and looks at its size again.
void disk_interrupt(u32 source)
{
	u64 r = SLOT_BASE + (source - 1) * 0x1000UL;
	u32 why = *reg(r, INTERRUPT);
	*reg(r, ACKNOWLEDGE) = why;
	for (int i = 0; i < disk_count; i++)
		if (disks[i].registers == r && why & 2)
			disks[i].sectors = *reg(r, CONFIG) | (u64)*reg(r, CONFIG + 4) << 32;
}

// disk_transfer reads or writes sectors; it returns what is wrong, or nothing.
const char *disk_transfer(struct disk *d, int write, u64 sector, u64 count, void *memory)
{
	if (sector > d->sectors || count > d->sectors - sector)
		return "past the end of the disk";
	if (!count)
		return 0;
	if (write && disk_read_only(d))
		return "the disk is read-only";
	if (request(d, write ? BLK_WRITE : BLK_READ, sector, memory, count * SECTOR, !write))
		return "the disk reports an error";
	if (write && d->features & BLK_FLUSH && request(d, BLK_GET_FLUSH, 0, 0, 0, 0))
		return "the disk cannot be flushed";
	return 0;
}
