// Text, numbers and checksums.

#include "guest.h"

int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

// number reads a decimal number, a hexadecimal one with 0x, and a suffix k or m.
int number(const char *s, u64 *v)
{
	u64 base = 10;
	const char *start;
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		base = 16, s += 2;
	for (*v = 0, start = s;; s++) {
		char c = *s | 0x20;
		u64 digit = *s >= '0' && *s <= '9' ? *s - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
		if (digit >= base)
			break;
		*v = *v * base + digit;
	}
	if (s == start)
		return 0;
	if ((*s | 0x20) == 'k')
		*v <<= 10, s++;
	else if ((*s | 0x20) == 'm')
		*v <<= 20, s++;
	return *s == 0;
}

// crc32 is the checksum of zip, PNG and U-Boot.
u32 crc32(u32 crc, const void *p, u64 n)
{
	crc = ~crc;
	for (const u8 *b = p; n--; b++) {
		crc ^= *b;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

void *memset(void *p, int c, u64 n)
{
	for (volatile u8 *b = p; n--;)
		*b++ = c;
	return p;
}

void *memcpy(void *to, const void *from, u64 n)
{
	volatile u8 *t = to;
	for (const u8 *f = from; n--;)
		*t++ = *f++;
	return to;
}
