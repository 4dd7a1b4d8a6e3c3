# Entry in machine mode with a0 = hart, a1 = device tree, as the boot ROM does it, and the
# trap vector. Interrupts are never taken: the program waits for them with WFI and looks
# at mip itself. So every trap is a mistake, such as a peek at a hole in the memory map.

	.section .text.start
	.globl	_start
_start:
	la	sp, stack_top
	la	t0, trap
	csrw	mtvec, t0
	la	t0, bss_start
	la	t1, bss_end
1:	bgeu	t0, t1, 2f
	sd	zero, (t0)
	addi	t0, t0, 8
	j	1b
2:	mv	a0, a1
	call	main
3:	wfi
	j	3b

	.balign	4
trap:
	la	sp, stack_top
	csrr	a0, mcause
	csrr	a1, mtval
	call	fault
	j	3b
