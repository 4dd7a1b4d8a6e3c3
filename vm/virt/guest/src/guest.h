// What the parts of the guest share.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define SECTOR 512UL
#define TICKS_PER_SECOND 10000000UL

// board.c: console, time, waiting
void board_init(const void *tree);
u64 ram_size(void);
int ram_holds(u64 addr, u64 size);
void wait_for_interrupt(void);
u64 now(void);
void wake_at(u64 ticks);
int key_waiting(void);
int read_key(void);
void put_char(char c);
void put(const char *s);
void put_dec(u64 v);
void put_hex(u64 v, int digits);
void power_off(void) __attribute__((noreturn));
void reboot(void) __attribute__((noreturn));

// virtio.c
#define SLOTS 8
#define QUEUE 8
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
struct device {
	u64 registers;
	u32 version, features, number; // number of the queue
	struct queue *queue;
	u16 used; // requests that are complete
};
struct part {
	void *memory;
	u64 length;
	int device_writes;
};
int device_at(struct device *d, int slot, u32 number);
void device_init(struct device *d, u32 features, u32 number, struct queue *q);
void exchange(struct device *d, const struct part *parts, int count);
u64 device_config(const struct device *d);
u64 slot_registers(u32 source);
u32 device_interrupt(u64 registers);

// disk.c
#define MAX_DISKS 8
struct disk {
	struct device device;
	u64 sectors;
	char serial[21];
};
extern struct disk disks[MAX_DISKS];
extern int disk_count;
void disk_init(void);
const char *disk_transfer(struct disk *d, int write, u64 sector, u64 count, void *memory);
int disk_read_only(const struct disk *d);
void disk_resized(u64 registers);

// cd.c
void cd_init(void);
void cd_look(void);
void cd_tray(int open);

// text.c
int same(const char *a, const char *b);
int number(const char *s, u64 *v);
u32 crc32(u32 crc, const void *p, u64 n);
void *memset(void *p, int c, u64 n);
void *memcpy(void *to, const void *from, u64 n);
