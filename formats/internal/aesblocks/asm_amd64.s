#include "textflag.h"

// AX round keys, CX rounds, DX dst, BX src, SI blocks left; X8 a round key.

#define ARGUMENTS \
	MOVQ keys+0(FP), AX \
	MOVQ rounds+8(FP), CX \
	MOVQ dst+16(FP), DX \
	MOVQ src+24(FP), BX \
	MOVQ n+32(FP), SI

// EIGHT does an instruction with X8 on eight blocks.
#define EIGHT(OP) \
	OP X8, X0 \
	OP X8, X1 \
	OP X8, X2 \
	OP X8, X3 \
	OP X8, X4 \
	OP X8, X5 \
	OP X8, X6 \
	OP X8, X7

#define LOAD8 \
	MOVUPS 0(BX), X0 \
	MOVUPS 16(BX), X1 \
	MOVUPS 32(BX), X2 \
	MOVUPS 48(BX), X3 \
	MOVUPS 64(BX), X4 \
	MOVUPS 80(BX), X5 \
	MOVUPS 96(BX), X6 \
	MOVUPS 112(BX), X7 \
	ADDQ $128, BX

#define STORE8 \
	MOVUPS X0, 0(DX) \
	MOVUPS X1, 16(DX) \
	MOVUPS X2, 32(DX) \
	MOVUPS X3, 48(DX) \
	MOVUPS X4, 64(DX) \
	MOVUPS X5, 80(DX) \
	MOVUPS X6, 96(DX) \
	MOVUPS X7, 112(DX) \
	ADDQ $128, DX

// BLOCKS is the whole function: ROUND and LAST are the instructions of a round.
#define BLOCKS(ROUND, LAST) \
	ARGUMENTS \
eight: \
	CMPQ SI, $8 \
	JLT  one \
	LOAD8 \
	MOVQ AX, DI \
	MOVQ CX, R8 \
	MOVUPS (DI), X8 \
	EIGHT(PXOR) \
	JMP  eightNext \
eightRound: \
	EIGHT(ROUND) \
eightNext: \
	ADDQ $16, DI \
	MOVUPS (DI), X8 \
	DECQ R8 \
	JNZ  eightRound \
	EIGHT(LAST) \
	STORE8 \
	SUBQ $8, SI \
	JMP  eight \
one: \
	TESTQ SI, SI \
	JZ   done \
	MOVUPS (BX), X0 \
	MOVQ AX, DI \
	MOVQ CX, R8 \
	MOVUPS (DI), X8 \
	PXOR X8, X0 \
	JMP  oneNext \
oneRound: \
	ROUND X8, X0 \
oneNext: \
	ADDQ $16, DI \
	MOVUPS (DI), X8 \
	DECQ R8 \
	JNZ  oneRound \
	LAST X8, X0 \
	MOVUPS X0, (DX) \
	ADDQ $16, BX \
	ADDQ $16, DX \
	DECQ SI \
	JMP  one \
done: \
	RET

// func encryptBlocks(keys *schedule, rounds int, dst, src *byte, n int)
TEXT ·encryptBlocks(SB), NOSPLIT, $0-40
	BLOCKS(AESENC, AESENCLAST)

// func decryptBlocks(keys *schedule, rounds int, dst, src *byte, n int)
TEXT ·decryptBlocks(SB), NOSPLIT, $0-40
	BLOCKS(AESDEC, AESDECLAST)

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL   w+0(FP), AX
	MOVL   AX, X0
	PSHUFD $0, X0, X0
	AESKEYGENASSIST $0, X0, X1
	MOVL   X1, AX
	MOVL   AX, ret+8(FP)
	RET

// func unmixColumns(k *uint32)
TEXT ·unmixColumns(SB), NOSPLIT, $0-8
	MOVQ   k+0(FP), AX
	MOVUPS (AX), X0
	AESIMC X0, X0
	MOVUPS X0, (AX)
	RET
