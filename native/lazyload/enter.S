/*
 * The functions of a library that is loaded late. Each of them only says its
 * number; `enter` jumps to the real function of that number, whose address
 * load.c finds at the first call.
 *
 * functions.inc is made from the library's list: one line `function NAME` for
 * each. Arguments stay where the caller put them, in registers and on the
 * stack, so nothing here needs to know what they are. r10 and r11 are free to
 * use between a call and its function (System V ABI, AMD64, 3.2.3).
 */

#include <cet.h>

	.text
	.set	count, 0

	.macro	function name
	.globl	\name
	.type	\name, @function
	.p2align 4
\name:
	_CET_ENDBR
	movl	$count, %r11d
	jmp	enter
	.size	\name, . - \name
	.set	count, count + 1
	.endm

	.include "functions.inc"
	.purgem	function

	.p2align 4
	.type	enter, @function
enter:
	.cfi_startproc
	leaq	lazyload_functions(%rip), %r10
	movq	(%r10, %r11, 8), %r10
	testq	%r10, %r10
	jz	1f
	jmp	*%r10

	/* Everything that can hold an argument is kept; al counts those in vector registers. */
1:	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	subq	$192, %rsp
	movq	%rax, (%rsp)
	movq	%rdi, 8(%rsp)
	movq	%rsi, 16(%rsp)
	movq	%rdx, 24(%rsp)
	movq	%rcx, 32(%rsp)
	movq	%r8, 40(%rsp)
	movq	%r9, 48(%rsp)
	movups	%xmm0, 64(%rsp)
	movups	%xmm1, 80(%rsp)
	movups	%xmm2, 96(%rsp)
	movups	%xmm3, 112(%rsp)
	movups	%xmm4, 128(%rsp)
	movups	%xmm5, 144(%rsp)
	movups	%xmm6, 160(%rsp)
	movups	%xmm7, 176(%rsp)
	movl	%r11d, %edi
	call	lazyload_find
	movq	%rax, %r11
	movq	(%rsp), %rax
	movq	8(%rsp), %rdi
	movq	16(%rsp), %rsi
	movq	24(%rsp), %rdx
	movq	32(%rsp), %rcx
	movq	40(%rsp), %r8
	movq	48(%rsp), %r9
	movups	64(%rsp), %xmm0
	movups	80(%rsp), %xmm1
	movups	96(%rsp), %xmm2
	movups	112(%rsp), %xmm3
	movups	128(%rsp), %xmm4
	movups	144(%rsp), %xmm5
	movups	160(%rsp), %xmm6
	movups	176(%rsp), %xmm7
	leave
	.cfi_def_cfa %rsp, 8
	jmp	*%r11
	.cfi_endproc
	.size	enter, . - enter

	/* Their names, in the same order, each with a zero at its end. */
	.section .rodata.str, "a", @progbits
	.globl	lazyload_names
	.hidden	lazyload_names
lazyload_names:
	.macro	function name
	.asciz	"\name"
	.endm
	.include "functions.inc"
	.byte	0

	/*
	 * Their addresses, zero until the library is loaded: no relocations, and no
	 * memory before that. The loader makes these pages read-only with the others
	 * of this section, so they share none with what else is in it.
	 */
	.section .data.rel.ro, "aw", @progbits
	.balign	4096
	.globl	lazyload_functions, lazyload_functions_end
	.hidden	lazyload_functions, lazyload_functions_end
lazyload_functions:
	.zero	8 * count
	.balign	4096
lazyload_functions_end:

	.section .note.GNU-stack, "", @progbits
