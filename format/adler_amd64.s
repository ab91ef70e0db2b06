// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// How often a byte of 32 counts.
DATA weights<>+0(SB)/8, $0x191a1b1c1d1e1f20
DATA weights<>+8(SB)/8, $0x1112131415161718
DATA weights<>+16(SB)/8, $0x090a0b0c0d0e0f10
DATA weights<>+24(SB)/8, $0x0102030405060708
GLOBL weights<>(SB), RODATA|NOPTR, $32

// func adlerVector(p *byte, n int, sums *[3][4]uint64)
TEXT ·adlerVector(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	MOVQ sums+16(FP), DI
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1 // sums of bytes, 4 of 64 bits
	VPXOR Y2, Y2, Y2 // sums of the values of Y1 before each 32 bytes
	VPXOR Y3, Y3, Y3 // sums of weighted bytes, 8 of 32 bits
	VMOVDQU weights<>(SB), Y4
	VPCMPEQW Y5, Y5, Y5
	VPSRLW $15, Y5, Y5 // 16 words of 1

loop:
	VMOVDQU (SI), Y6
	VPADDQ Y1, Y2, Y2
	VPSADBW Y0, Y6, Y7
	VPADDQ Y7, Y1, Y1
	VPMADDUBSW Y4, Y6, Y8 // pairs, at most 255*(32+31), fit into 16 bits with a sign
	VPMADDWD Y5, Y8, Y8
	VPADDD Y8, Y3, Y3
	ADDQ $32, SI
	SUBQ $32, CX
	JNZ loop

	VMOVDQU Y1, (DI)
	VMOVDQU Y2, 32(DI)
	VMOVDQU Y3, 64(DI)
	VZEROUPPER
	RET
