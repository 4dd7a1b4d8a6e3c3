// The CD-ROM drive: the first one on a virtio-scsi bus.

#include "guest.h"

#define NUMBER 8 // of the device
#define REQUESTS 2 // the queue
#define TARGETS 8

#define TYPE_CDROM 5
#define UNIT_ATTENTION 6

static struct queue queue __attribute__((aligned(4096)));
static struct device host;
static int target = -1; // of the drive, -1 for none

static struct {
	u8 lun[8], id[8], attribute, priority, crn, command[32];
} __attribute__((packed)) head;

static struct {
	u32 sense_length, residual;
	u16 qualifier;
	u8 status, response, sense[96];
} answer;

// command sends one and returns 0 if it went well, else the sense key.
static int command(int at, const u8 *bytes, int count, void *data, u64 length)
{
	memset(&head, 0, sizeof head);
	head.lun[0] = 1;
	head.lun[1] = at;
	head.lun[2] = 0x40;
	memcpy(head.command, bytes, count);
	memset(&answer, 0xff, sizeof answer);
	const struct part parts[] = {
		{ &head, sizeof head, 0 },
		{ &answer, sizeof answer, 1 },
		{ data, length, 1 },
	};
	exchange(&host, parts, 3);
	if (answer.response)
		return 0xff;
	return answer.status ? answer.sense[2] & 15 : 0;
}

// cd_init looks for a drive.
void cd_init(void)
{
	int slot = SLOTS - 1;
	while (slot >= 0 && !device_at(&host, slot, NUMBER))
		slot--;
	if (slot < 0)
		return;
	device_init(&host, 0, REQUESTS, &queue);
	for (int at = 0; at < TARGETS && target < 0; at++) {
		static const u8 inquiry[6] = { 0x12, 0, 0, 0, 36, 0 };
		static u8 data[36];
		if (command(at, inquiry, 6, data, sizeof data) == 0 && data[0] == TYPE_CDROM)
			target = at;
	}
}

// ready waits until the drive has said what happened to it, and tells if there is a CD.
static int ready(void)
{
	static const u8 test[6];
	int key;
	while ((key = command(target, test, 6, 0, 0)) == UNIT_ATTENTION)
		if (answer.sense[12] == 0x28)
			put("there is a new CD\n");
	return key == 0;
}

// cd_look says what is in the drive: label and size.
void cd_look(void)
{
	static const u8 capacity[10] = { 0x25 }, sixteen[10] = { 0x28, 0, 0, 0, 0, 16, 0, 0, 1, 0 };
	static u8 last[8], sector[2048];
	if (target < 0) {
		put("no CD drive\n");
		return;
	}
	if (!ready()) {
		put("CD drive: no CD\n");
		return;
	}
	put("CD: ");
	if (command(target, capacity, 10, last, sizeof last) == 0) {
		put_dec((((u64)last[0] << 24 | last[1] << 16 | last[2] << 8 | last[3]) + 1) * 2);
		put(" KiB");
	}
	// The first volume descriptor of ISO 9660 has the label, filled up with spaces.
	if (command(target, sixteen, 10, sector, sizeof sector) == 0 && sector[1] == 'C' && sector[2] == 'D') {
		int n = 32;
		while (n && sector[40 + n - 1] == ' ')
			n--;
		put(", label ");
		for (int i = 0; i < n; i++)
			put_char(sector[40 + i]);
	}
	put("\n");
}

// cd_tray opens or closes the tray.
void cd_tray(int open)
{
	const u8 start_stop[6] = { 0x1b, 0, 0, 0, open ? 2 : 3, 0 };
	if (target < 0) {
		put("no CD drive\n");
		return;
	}
	ready();
	put(command(target, start_stop, 6, 0, 0) ? "the drive refuses\n" : open ? "the tray is open\n" : "the tray is closed\n");
}
