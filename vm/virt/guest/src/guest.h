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

// disk.c
#define MAX_DISKS 8
struct disk {
	u64 registers; // 0: no such disk
	u32 version, device, features;
	u64 sectors;
	char serial[21];
	u16 used; // requests that are complete
};
extern struct disk disks[MAX_DISKS];
extern int disk_count;
void disk_init(void);
const char *disk_transfer(struct disk *d, int write, u64 sector, u64 count, void *memory);
int disk_read_only(const struct disk *d);
void disk_interrupt(u32 source);

// text.c
int same(const char *a, const char *b);
int number(const char *s, u64 *v);
u32 crc32(u32 crc, const void *p, u64 n);
void *memset(void *p, int c, u64 n);
void *memcpy(void *to, const void *from, u64 n);
