#include "textflag.h"

// R0 round keys, R1 rounds, R2 dst, R3 src, R4 blocks left; V16 a round key. The
// instructions add the round key first, so a round is one of them and the mixing of
// columns, and the last key is added by itself.

#define ARGUMENTS \
	MOVD keys+0(FP), R0 \
	MOVD rounds+8(FP), R1 \
	MOVD dst+16(FP), R2 \
	MOVD src+24(FP), R3 \
	MOVD n+32(FP), R4

#define ROUND8(OP, MIX) \
	OP V16.B16, V0.B16 \
	MIX V0.B16, V0.B16 \
	OP V16.B16, V1.B16 \
	MIX V1.B16, V1.B16 \
	OP V16.B16, V2.B16 \
	MIX V2.B16, V2.B16 \
	OP V16.B16, V3.B16 \
	MIX V3.B16, V3.B16 \
	OP V16.B16, V4.B16 \
	MIX V4.B16, V4.B16 \
	OP V16.B16, V5.B16 \
	MIX V5.B16, V5.B16 \
	OP V16.B16, V6.B16 \
	MIX V6.B16, V6.B16 \
	OP V16.B16, V7.B16 \
	MIX V7.B16, V7.B16

#define LAST8(OP) \
	OP V16.B16, V0.B16 \
	OP V16.B16, V1.B16 \
	OP V16.B16, V2.B16 \
	OP V16.B16, V3.B16 \
	OP V16.B16, V4.B16 \
	OP V16.B16, V5.B16 \
	OP V16.B16, V6.B16 \
	OP V16.B16, V7.B16

#define ADD8 \
	VEOR V16.B16, V0.B16, V0.B16 \
	VEOR V16.B16, V1.B16, V1.B16 \
	VEOR V16.B16, V2.B16, V2.B16 \
	VEOR V16.B16, V3.B16, V3.B16 \
	VEOR V16.B16, V4.B16, V4.B16 \
	VEOR V16.B16, V5.B16, V5.B16 \
	VEOR V16.B16, V6.B16, V6.B16 \
	VEOR V16.B16, V7.B16, V7.B16

// BLOCKS is the whole function.
#define BLOCKS(OP, MIX) \
	ARGUMENTS \
eight: \
	CMP  $8, R4 \
	BLT  one \
	VLD1.P 64(R3), [V0.B16, V1.B16, V2.B16, V3.B16] \
	VLD1.P 64(R3), [V4.B16, V5.B16, V6.B16, V7.B16] \
	MOVD R0, R5 \
	SUB  $1, R1, R6 \
eightRound: \
	VLD1.P 16(R5), [V16.B16] \
	ROUND8(OP, MIX) \
	SUBS $1, R6, R6 \
	BNE  eightRound \
	VLD1.P 16(R5), [V16.B16] \
	LAST8(OP) \
	VLD1 (R5), [V16.B16] \
	ADD8 \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R2) \
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R2) \
	SUB  $8, R4, R4 \
	B    eight \
one: \
	CBZ  R4, done \
	VLD1.P 16(R3), [V0.B16] \
	MOVD R0, R5 \
	SUB  $1, R1, R6 \
oneRound: \
	VLD1.P 16(R5), [V16.B16] \
	OP   V16.B16, V0.B16 \
	MIX  V0.B16, V0.B16 \
	SUBS $1, R6, R6 \
	BNE  oneRound \
	VLD1.P 16(R5), [V16.B16] \
	OP   V16.B16, V0.B16 \
	VLD1 (R5), [V16.B16] \
	VEOR V16.B16, V0.B16, V0.B16 \
	VST1.P [V0.B16], 16(R2) \
	SUB  $1, R4, R4 \
	B    one \
done: \
	RET

// func encryptBlocks(keys *schedule, rounds int, dst, src *byte, n int)
TEXT ·encryptBlocks(SB), NOSPLIT, $0-40
	BLOCKS(AESE, AESMC)

// func decryptBlocks(keys *schedule, rounds int, dst, src *byte, n int)
TEXT ·decryptBlocks(SB), NOSPLIT, $0-40
	BLOCKS(AESD, AESIMC)

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVWU w+0(FP), R0
	VDUP  R0, V0.S4 // all columns are alike, so shifting rows changes nothing
	VEOR  V1.B16, V1.B16, V1.B16
	AESE  V1.B16, V0.B16
	VMOV  V0.S[0], R0
	MOVW  R0, ret+8(FP)
	RET

// func unmixColumns(k *uint32)
TEXT ·unmixColumns(SB), NOSPLIT, $0-8
	MOVD   k+0(FP), R0
	VLD1   (R0), [V0.B16]
	AESIMC V0.B16, V0.B16
	VST1   [V0.B16], (R0)
	RET
