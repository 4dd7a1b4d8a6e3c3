package riscv

// Opcodes. The first ones are no instructions but steer the run loop.
const (
	opUndecoded opcode = iota // not looked at yet: decode it
	opLeave                   // off the page: look pc up again
	opCross                   // 32 bits of which the second half lies on the next page
	opIllegal                 // decodes to nothing

	// RV64I: register-immediate and register-register (2.4, 4.2).
	opADDI
	opSLLI
	opSLTI
	opSLTIU
	opXORI
	opSRLI
	opSRAI
	opORI
	opANDI
	opADDIW
	opSLLIW
	opSRLIW
	opSRAIW
	opADD
	opSUB
	opSLL
	opSLT
	opSLTU
	opXOR
	opSRL
	opSRA
	opOR
	opAND
	opADDW
	opSUBW
	opSLLW
	opSRLW
	opSRAW
	opLUI
	opAUIPC

	// RV64I: control transfer (2.5).
	opJAL
	opJALR
	opBEQ
	opBNE
	opBLT
	opBGE
	opBLTU
	opBGEU

	// RV64I: loads and stores (2.6, 4.3).
	opLB
	opLH
	opLW
	opLD
	opLBU
	opLHU
	opLWU
	opSB
	opSH
	opSW
	opSD

	// M (7).
	opMUL
	opMULH
	opMULHSU
	opMULHU
	opDIV
	opDIVU
	opREM
	opREMU
	opMULW
	opDIVW
	opDIVUW
	opREMW
	opREMUW

	// RV64I: fences, environment (2.7, 2.8), Zifencei, Zicsr, privileged.
	opFENCE
	opFENCEI
	opECALL
	opEBREAK
	opSRET
	opMRET
	opWFI
	opSFENCEVMA
	opCSRRW
	opCSRRS
	opCSRRC
	opCSRRWI
	opCSRRSI
	opCSRRCI

	// A (8).
	opLRW
	opSCW
	opAMOSWAPW
	opAMOADDW
	opAMOXORW
	opAMOANDW
	opAMOORW
	opAMOMINW
	opAMOMAXW
	opAMOMINUW
	opAMOMAXUW
	opLRD
	opSCD
	opAMOSWAPD
	opAMOADDD
	opAMOXORD
	opAMOANDD
	opAMOORD
	opAMOMIND
	opAMOMAXD
	opAMOMINUD
	opAMOMAXUD

	// F (11).
	opFLW
	opFSW
	opFMADDS
	opFMSUBS
	opFNMSUBS
	opFNMADDS
	opFADDS
	opFSUBS
	opFMULS
	opFDIVS
	opFSQRTS
	opFSGNJS
	opFSGNJNS
	opFSGNJXS
	opFMINS
	opFMAXS
	opFLES
	opFLTS
	opFEQS
	opFCVTWS
	opFCVTSW
	opFCVTWUS
	opFCVTSWU
	opFCVTLS
	opFCVTSL
	opFCVTLUS
	opFCVTSLU
	opFMVXW
	opFCLASSS
	opFMVWX
	opFCVTSD

	// D (12).
	opFLD
	opFSD
	opFMADDD
	opFMSUBD
	opFNMSUBD
	opFNMADDD
	opFADDD
	opFSUBD
	opFMULD
	opFDIVD
	opFSQRTD
	opFSGNJD
	opFSGNJND
	opFSGNJXD
	opFMIND
	opFMAXD
	opFLED
	opFLTD
	opFEQD
	opFCVTWD
	opFCVTDW
	opFCVTWUD
	opFCVTDWU
	opFCVTLD
	opFCVTDL
	opFCVTLUD
	opFCVTDLU
	opFMVXD
	opFCLASSD
	opFMVDX
	opFCVTDS

	opCount
)

// instructions is the decode table: RV64GC after expansion of compressed ones. Section
// numbers are those of the unprivileged specification, 20191213.
var instructions = []instruction{
	// RV64I: register-immediate and register-register (2.4, 4.2).
	{"addi", 0x707f, 0x13, opADDI, fmtI},
	{"slli", 0xfc00707f, 0x1013, opSLLI, fmtShift},
	{"slti", 0x707f, 0x2013, opSLTI, fmtI},
	{"sltiu", 0x707f, 0x3013, opSLTIU, fmtI},
	{"xori", 0x707f, 0x4013, opXORI, fmtI},
	{"srli", 0xfc00707f, 0x5013, opSRLI, fmtShift},
	{"srai", 0xfc00707f, 0x40005013, opSRAI, fmtShift},
	{"ori", 0x707f, 0x6013, opORI, fmtI},
	{"andi", 0x707f, 0x7013, opANDI, fmtI},
	{"addiw", 0x707f, 0x1b, opADDIW, fmtI},
	{"slliw", 0xfe00707f, 0x101b, opSLLIW, fmtShiftW},
	{"srliw", 0xfe00707f, 0x501b, opSRLIW, fmtShiftW},
	{"sraiw", 0xfe00707f, 0x4000501b, opSRAIW, fmtShiftW},
	{"add", 0xfe00707f, 0x33, opADD, fmtR},
	{"sub", 0xfe00707f, 0x40000033, opSUB, fmtR},
	{"sll", 0xfe00707f, 0x1033, opSLL, fmtR},
	{"slt", 0xfe00707f, 0x2033, opSLT, fmtR},
	{"sltu", 0xfe00707f, 0x3033, opSLTU, fmtR},
	{"xor", 0xfe00707f, 0x4033, opXOR, fmtR},
	{"srl", 0xfe00707f, 0x5033, opSRL, fmtR},
	{"sra", 0xfe00707f, 0x40005033, opSRA, fmtR},
	{"or", 0xfe00707f, 0x6033, opOR, fmtR},
	{"and", 0xfe00707f, 0x7033, opAND, fmtR},
	{"addw", 0xfe00707f, 0x3b, opADDW, fmtR},
	{"subw", 0xfe00707f, 0x4000003b, opSUBW, fmtR},
	{"sllw", 0xfe00707f, 0x103b, opSLLW, fmtR},
	{"srlw", 0xfe00707f, 0x503b, opSRLW, fmtR},
	{"sraw", 0xfe00707f, 0x4000503b, opSRAW, fmtR},
	{"lui", 0x7f, 0x37, opLUI, fmtU},
	{"auipc", 0x7f, 0x17, opAUIPC, fmtU},
	// RV64I: control transfer (2.5).
	{"jal", 0x7f, 0x6f, opJAL, fmtJ},
	{"jalr", 0x707f, 0x67, opJALR, fmtLoad},
	{"beq", 0x707f, 0x63, opBEQ, fmtB},
	{"bne", 0x707f, 0x1063, opBNE, fmtB},
	{"blt", 0x707f, 0x4063, opBLT, fmtB},
	{"bge", 0x707f, 0x5063, opBGE, fmtB},
	{"bltu", 0x707f, 0x6063, opBLTU, fmtB},
	{"bgeu", 0x707f, 0x7063, opBGEU, fmtB},
	// RV64I: loads and stores (2.6, 4.3).
	{"lb", 0x707f, 0x3, opLB, fmtLoad},
	{"lh", 0x707f, 0x1003, opLH, fmtLoad},
	{"lw", 0x707f, 0x2003, opLW, fmtLoad},
	{"ld", 0x707f, 0x3003, opLD, fmtLoad},
	{"lbu", 0x707f, 0x4003, opLBU, fmtLoad},
	{"lhu", 0x707f, 0x5003, opLHU, fmtLoad},
	{"lwu", 0x707f, 0x6003, opLWU, fmtLoad},
	{"sb", 0x707f, 0x23, opSB, fmtS},
	{"sh", 0x707f, 0x1023, opSH, fmtS},
	{"sw", 0x707f, 0x2023, opSW, fmtS},
	{"sd", 0x707f, 0x3023, opSD, fmtS},
	// M (7).
	{"mul", 0xfe00707f, 0x2000033, opMUL, fmtR},
	{"mulh", 0xfe00707f, 0x2001033, opMULH, fmtR},
	{"mulhsu", 0xfe00707f, 0x2002033, opMULHSU, fmtR},
	{"mulhu", 0xfe00707f, 0x2003033, opMULHU, fmtR},
	{"div", 0xfe00707f, 0x2004033, opDIV, fmtR},
	{"divu", 0xfe00707f, 0x2005033, opDIVU, fmtR},
	{"rem", 0xfe00707f, 0x2006033, opREM, fmtR},
	{"remu", 0xfe00707f, 0x2007033, opREMU, fmtR},
	{"mulw", 0xfe00707f, 0x200003b, opMULW, fmtR},
	{"divw", 0xfe00707f, 0x200403b, opDIVW, fmtR},
	{"divuw", 0xfe00707f, 0x200503b, opDIVUW, fmtR},
	{"remw", 0xfe00707f, 0x200603b, opREMW, fmtR},
	{"remuw", 0xfe00707f, 0x200703b, opREMUW, fmtR},
	// RV64I: fences, environment (2.7, 2.8), Zifencei, Zicsr, privileged.
	{"fence", 0x707f, 0xf, opFENCE, fmtFence},
	{"fence.i", 0x707f, 0x100f, opFENCEI, fmtNone},
	{"ecall", 0xffffffff, 0x73, opECALL, fmtNone},
	{"ebreak", 0xffffffff, 0x100073, opEBREAK, fmtNone},
	{"sret", 0xffffffff, 0x10200073, opSRET, fmtNone},
	{"mret", 0xffffffff, 0x30200073, opMRET, fmtNone},
	{"wfi", 0xffffffff, 0x10500073, opWFI, fmtNone},
	{"sfence.vma", 0xfe007fff, 0x12000073, opSFENCEVMA, fmtSFence},
	{"csrrw", 0x707f, 0x1073, opCSRRW, fmtCSR},
	{"csrrs", 0x707f, 0x2073, opCSRRS, fmtCSR},
	{"csrrc", 0x707f, 0x3073, opCSRRC, fmtCSR},
	{"csrrwi", 0x707f, 0x5073, opCSRRWI, fmtCSRI},
	{"csrrsi", 0x707f, 0x6073, opCSRRSI, fmtCSRI},
	{"csrrci", 0x707f, 0x7073, opCSRRCI, fmtCSRI},
	// A (8).
	{"lr.w", 0xf9f0707f, 0x1000202f, opLRW, fmtLR},
	{"sc.w", 0xf800707f, 0x1800202f, opSCW, fmtAMO},
	{"amoswap.w", 0xf800707f, 0x800202f, opAMOSWAPW, fmtAMO},
	{"amoadd.w", 0xf800707f, 0x202f, opAMOADDW, fmtAMO},
	{"amoxor.w", 0xf800707f, 0x2000202f, opAMOXORW, fmtAMO},
	{"amoand.w", 0xf800707f, 0x6000202f, opAMOANDW, fmtAMO},
	{"amoor.w", 0xf800707f, 0x4000202f, opAMOORW, fmtAMO},
	{"amomin.w", 0xf800707f, 0x8000202f, opAMOMINW, fmtAMO},
	{"amomax.w", 0xf800707f, 0xa000202f, opAMOMAXW, fmtAMO},
	{"amominu.w", 0xf800707f, 0xc000202f, opAMOMINUW, fmtAMO},
	{"amomaxu.w", 0xf800707f, 0xe000202f, opAMOMAXUW, fmtAMO},
	{"lr.d", 0xf9f0707f, 0x1000302f, opLRD, fmtLR},
	{"sc.d", 0xf800707f, 0x1800302f, opSCD, fmtAMO},
	{"amoswap.d", 0xf800707f, 0x800302f, opAMOSWAPD, fmtAMO},
	{"amoadd.d", 0xf800707f, 0x302f, opAMOADDD, fmtAMO},
	{"amoxor.d", 0xf800707f, 0x2000302f, opAMOXORD, fmtAMO},
	{"amoand.d", 0xf800707f, 0x6000302f, opAMOANDD, fmtAMO},
	{"amoor.d", 0xf800707f, 0x4000302f, opAMOORD, fmtAMO},
	{"amomin.d", 0xf800707f, 0x8000302f, opAMOMIND, fmtAMO},
	{"amomax.d", 0xf800707f, 0xa000302f, opAMOMAXD, fmtAMO},
	{"amominu.d", 0xf800707f, 0xc000302f, opAMOMINUD, fmtAMO},
	{"amomaxu.d", 0xf800707f, 0xe000302f, opAMOMAXUD, fmtAMO},
	// F (11).
	{"flw", 0x707f, 0x2007, opFLW, fmtFLoad},
	{"fsw", 0x707f, 0x2027, opFSW, fmtFS},
	{"fmadd.s", 0x600007f, 0x43, opFMADDS, fmtFR4},
	{"fmsub.s", 0x600007f, 0x47, opFMSUBS, fmtFR4},
	{"fnmsub.s", 0x600007f, 0x4b, opFNMSUBS, fmtFR4},
	{"fnmadd.s", 0x600007f, 0x4f, opFNMADDS, fmtFR4},
	{"fadd.s", 0xfe00007f, 0x53, opFADDS, fmtFRm},
	{"fsub.s", 0xfe00007f, 0x8000053, opFSUBS, fmtFRm},
	{"fmul.s", 0xfe00007f, 0x10000053, opFMULS, fmtFRm},
	{"fdiv.s", 0xfe00007f, 0x18000053, opFDIVS, fmtFRm},
	{"fsqrt.s", 0xfff0007f, 0x58000053, opFSQRTS, fmtF1},
	{"fsgnj.s", 0xfe00707f, 0x20000053, opFSGNJS, fmtFR},
	{"fsgnjn.s", 0xfe00707f, 0x20001053, opFSGNJNS, fmtFR},
	{"fsgnjx.s", 0xfe00707f, 0x20002053, opFSGNJXS, fmtFR},
	{"fmin.s", 0xfe00707f, 0x28000053, opFMINS, fmtFR},
	{"fmax.s", 0xfe00707f, 0x28001053, opFMAXS, fmtFR},
	{"fle.s", 0xfe00707f, 0xa0000053, opFLES, fmtFCmp},
	{"flt.s", 0xfe00707f, 0xa0001053, opFLTS, fmtFCmp},
	{"feq.s", 0xfe00707f, 0xa0002053, opFEQS, fmtFCmp},
	{"fcvt.w.s", 0xfff0007f, 0xc0000053, opFCVTWS, fmtFToXRm},
	{"fcvt.s.w", 0xfff0007f, 0xd0000053, opFCVTSW, fmtXToFRm},
	{"fcvt.wu.s", 0xfff0007f, 0xc0100053, opFCVTWUS, fmtFToXRm},
	{"fcvt.s.wu", 0xfff0007f, 0xd0100053, opFCVTSWU, fmtXToFRm},
	{"fcvt.l.s", 0xfff0007f, 0xc0200053, opFCVTLS, fmtFToXRm},
	{"fcvt.s.l", 0xfff0007f, 0xd0200053, opFCVTSL, fmtXToFRm},
	{"fcvt.lu.s", 0xfff0007f, 0xc0300053, opFCVTLUS, fmtFToXRm},
	{"fcvt.s.lu", 0xfff0007f, 0xd0300053, opFCVTSLU, fmtXToFRm},
	{"fmv.x.w", 0xfff0707f, 0xe0000053, opFMVXW, fmtFToX},
	{"fclass.s", 0xfff0707f, 0xe0001053, opFCLASSS, fmtFToX},
	{"fmv.w.x", 0xfff0707f, 0xf0000053, opFMVWX, fmtXToF},
	{"fcvt.s.d", 0xfff0007f, 0x40100053, opFCVTSD, fmtF1},
	// D (12).
	{"fld", 0x707f, 0x3007, opFLD, fmtFLoad},
	{"fsd", 0x707f, 0x3027, opFSD, fmtFS},
	{"fmadd.d", 0x600007f, 0x2000043, opFMADDD, fmtFR4},
	{"fmsub.d", 0x600007f, 0x2000047, opFMSUBD, fmtFR4},
	{"fnmsub.d", 0x600007f, 0x200004b, opFNMSUBD, fmtFR4},
	{"fnmadd.d", 0x600007f, 0x200004f, opFNMADDD, fmtFR4},
	{"fadd.d", 0xfe00007f, 0x2000053, opFADDD, fmtFRm},
	{"fsub.d", 0xfe00007f, 0xa000053, opFSUBD, fmtFRm},
	{"fmul.d", 0xfe00007f, 0x12000053, opFMULD, fmtFRm},
	{"fdiv.d", 0xfe00007f, 0x1a000053, opFDIVD, fmtFRm},
	{"fsqrt.d", 0xfff0007f, 0x5a000053, opFSQRTD, fmtF1},
	{"fsgnj.d", 0xfe00707f, 0x22000053, opFSGNJD, fmtFR},
	{"fsgnjn.d", 0xfe00707f, 0x22001053, opFSGNJND, fmtFR},
	{"fsgnjx.d", 0xfe00707f, 0x22002053, opFSGNJXD, fmtFR},
	{"fmin.d", 0xfe00707f, 0x2a000053, opFMIND, fmtFR},
	{"fmax.d", 0xfe00707f, 0x2a001053, opFMAXD, fmtFR},
	{"fle.d", 0xfe00707f, 0xa2000053, opFLED, fmtFCmp},
	{"flt.d", 0xfe00707f, 0xa2001053, opFLTD, fmtFCmp},
	{"feq.d", 0xfe00707f, 0xa2002053, opFEQD, fmtFCmp},
	{"fcvt.w.d", 0xfff0007f, 0xc2000053, opFCVTWD, fmtFToXRm},
	{"fcvt.d.w", 0xfff0007f, 0xd2000053, opFCVTDW, fmtXToFRm},
	{"fcvt.wu.d", 0xfff0007f, 0xc2100053, opFCVTWUD, fmtFToXRm},
	{"fcvt.d.wu", 0xfff0007f, 0xd2100053, opFCVTDWU, fmtXToFRm},
	{"fcvt.l.d", 0xfff0007f, 0xc2200053, opFCVTLD, fmtFToXRm},
	{"fcvt.d.l", 0xfff0007f, 0xd2200053, opFCVTDL, fmtXToFRm},
	{"fcvt.lu.d", 0xfff0007f, 0xc2300053, opFCVTLUD, fmtFToXRm},
	{"fcvt.d.lu", 0xfff0007f, 0xd2300053, opFCVTDLU, fmtXToFRm},
	{"fmv.x.d", 0xfff0707f, 0xe2000053, opFMVXD, fmtFToX},
	{"fclass.d", 0xfff0707f, 0xe2001053, opFCLASSD, fmtFToX},
	{"fmv.d.x", 0xfff0707f, 0xf2000053, opFMVDX, fmtXToF},
	{"fcvt.d.s", 0xfff0007f, 0x42000053, opFCVTDS, fmtF1},
}
