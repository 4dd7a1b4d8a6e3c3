// Virtio devices over both versions of virtio-mmio, one request at a time.

#include "guest.h"

#define SLOT_BASE 0x10001000UL

#define DESC_NEXT 1
#define DESC_WRITE 2

// Registers, as offsets.
enum {
	MAGIC = 0x00, VERSION = 0x04, DEVICE = 0x08, FEATURES = 0x10, FEATURES_SELECT = 0x14,
	ACCEPT = 0x20, ACCEPT_SELECT = 0x24, PAGE_SIZE = 0x28, QUEUE_SELECT = 0x30,
	QUEUE_SIZE = 0x38, QUEUE_ALIGN = 0x3c, QUEUE_PAGE = 0x40, QUEUE_READY = 0x44,
	NOTIFY = 0x50, INTERRUPT = 0x60, ACKNOWLEDGE = 0x64, STATUS = 0x70,
	DESC = 0x80, AVAIL = 0x90, USED = 0xa0, CONFIG = 0x100,
};

static volatile u32 *reg(const struct device *d, u64 off) { return (volatile u32 *)(d->registers + off); }

static void fence(void) { asm volatile("fence rw, rw" ::: "memory"); }

static void set_address(struct device *d, u64 off, const void *p)
{
	*reg(d, off) = (u32)(u64)p;
	*reg(d, off + 4) = (u32)((u64)p >> 32);
}

// device_at looks into a slot for a device of that number.
int device_at(struct device *d, int slot, u32 number)
{
	d->registers = SLOT_BASE + slot * 0x1000UL;
	d->version = *reg(d, VERSION);
	return *reg(d, MAGIC) == 0x74726976 && *reg(d, DEVICE) == number;
}

u64 slot_registers(u32 source) { return SLOT_BASE + (source - 1) * 0x1000UL; }

// device_init wakes a device, takes those of the features that it has, and gives it one queue.
void device_init(struct device *d, u32 features, u32 number, struct queue *q)
{
	d->queue = q;
	d->number = number;
	*reg(d, STATUS) = 0;
	*reg(d, STATUS) = 1;
	*reg(d, STATUS) = 3;
	*reg(d, FEATURES_SELECT) = 0;
	d->features = *reg(d, FEATURES) & features;
	*reg(d, ACCEPT_SELECT) = 0;
	*reg(d, ACCEPT) = d->features;
	if (d->version == 2) {
		*reg(d, ACCEPT_SELECT) = 1;
		*reg(d, ACCEPT) = 1; // VERSION_1
		*reg(d, STATUS) = 0xb;
	}
	memset(q, 0, sizeof *q);
	d->used = 0;
	*reg(d, QUEUE_SELECT) = number;
	*reg(d, QUEUE_SIZE) = QUEUE;
	if (d->version == 2) {
		set_address(d, DESC, q->desc);
		set_address(d, AVAIL, &q->avail_flags);
		set_address(d, USED, &q->used_flags);
		*reg(d, QUEUE_READY) = 1;
	} else {
		*reg(d, PAGE_SIZE) = 4096;
		*reg(d, QUEUE_ALIGN) = 4096;
		*reg(d, QUEUE_PAGE) = (u64)q / 4096;
	}
	*reg(d, STATUS) = d->version == 2 ? 0xf : 7;
}

// exchange puts a request into the queue and waits until the device has done with it. Parts
// without bytes are left out.
void exchange(struct device *d, const struct part *parts, int count)
{
	struct queue *q = d->queue;
	int n = 0;
	for (int i = 0; i < count; i++) {
		if (!parts[i].length)
			continue;
		if (n)
			q->desc[n - 1].flags |= DESC_NEXT;
		q->desc[n] = (struct descriptor){ (u64)parts[i].memory, parts[i].length,
			parts[i].device_writes ? DESC_WRITE : 0, n + 1 };
		n++;
	}
	q->avail[q->avail_index % QUEUE] = 0;
	fence();
	q->avail_index++;
	fence();
	*reg(d, NOTIFY) = d->number;
	while (*(volatile u16 *)&q->used_index == d->used)
		wait_for_interrupt();
	d->used++;
	fence();
}

u64 device_config(const struct device *d) { return *reg(d, CONFIG) | (u64)*reg(d, CONFIG + 4) << 32; }

// device_interrupt acknowledges what the device in a slot says; 2 is a change of its config.
u32 device_interrupt(u64 registers)
{
	struct device d = { .registers = registers };
	u32 why = *reg(&d, INTERRUPT);
	*reg(&d, ACKNOWLEDGE) = why;
	return why;
}
