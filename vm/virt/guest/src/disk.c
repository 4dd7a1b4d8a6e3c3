// Disks: virtio-blk.

#include "guest.h"

#define NUMBER 2 // of the device

#define BLK_READ_ONLY (1u << 5)
#define BLK_FLUSH (1u << 9)
#define BLK_READ 0
#define BLK_WRITE 1
#define BLK_GET_FLUSH 4
#define BLK_GET_ID 8

static struct queue queues[MAX_DISKS] __attribute__((aligned(4096)));
struct disk disks[MAX_DISKS];
int disk_count;

static struct {
	u32 type, reserved;
	u64 sector;
} header;
static volatile u8 status;

// request sends one and waits for it: header, data if any, status.
static int request(struct disk *d, u32 type, u64 sector, void *data, u64 length, int device_writes)
{
	header.type = type;
	header.sector = sector;
	status = 0xff;
	const struct part parts[] = {
		{ &header, sizeof header, 0 },
		{ data, length, device_writes },
		{ (void *)&status, 1, 1 },
	};
	exchange(&d->device, parts, 3);
	return status;
}

// disk_init finds the disks, from the highest slot down as U-Boot and Linux do.
void disk_init(void)
{
	for (int slot = SLOTS - 1; slot >= 0; slot--) {
		struct disk *d = &disks[disk_count];
		if (!device_at(&d->device, slot, NUMBER))
			continue;
		device_init(&d->device, BLK_READ_ONLY | BLK_FLUSH, 0, &queues[disk_count]);
		disk_count++;
		d->sectors = device_config(&d->device);
		static char serial[20];
		if (request(d, BLK_GET_ID, 0, serial, sizeof serial, 1) == 0)
			memcpy(d->serial, serial, sizeof serial);
	}
}

int disk_read_only(const struct disk *d) { return d->device.features & BLK_READ_ONLY; }

// disk_resized looks at the size of the disk in a slot again.
void disk_resized(u64 registers)
{
	for (int i = 0; i < disk_count; i++)
		if (disks[i].device.registers == registers)
			disks[i].sectors = device_config(&disks[i].device);
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
	if (write && d->device.features & BLK_FLUSH && request(d, BLK_GET_FLUSH, 0, 0, 0, 0))
		return "the disk cannot be flushed";
	return 0;
}
