/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The registers that an interrupt or a system call saves, as bpf_user_pt_regs_t shows them
 * (arch/x86/include/uapi/asm/ptrace.h, struct pt_regs;
 *  arch/arm64/include/uapi/asm/ptrace.h, struct user_pt_regs).
 * The one place that tells the architectures apart.
 */
#ifndef STACKSONDE_REGISTERS_H
#define STACKSONDE_REGISTERS_H

#include "kernel.h"

#if defined(STACKSONDE_X86_64)

struct registers {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	u64 orig_ax, ip, cs, flags, sp, ss;
};

#define REGISTERS_PC(r) ((r)->ip)
#define REGISTERS_SP(r) ((r)->sp)
#define REGISTERS_FP(r) ((r)->bp)
#define REGISTERS_BX(r) ((r)->bx)
#define REGISTERS_LR(r) (0ULL)
/* Registers by DWARF number (System V ABI, AMD64 supplement, figure 3.36). */
#define REGISTERS_LEAF(leaf, r) \
	((leaf)[0] = (r)->ax, (leaf)[1] = (r)->dx, (leaf)[2] = (r)->cx, (leaf)[3] = (r)->bx, (leaf)[4] = (r)->si, \
	 (leaf)[5] = (r)->di, (leaf)[6] = (r)->bp, (leaf)[7] = (r)->sp, (leaf)[8] = (r)->r8, (leaf)[9] = (r)->r9, \
	 (leaf)[10] = (r)->r10, (leaf)[11] = (r)->r11, (leaf)[12] = (r)->r12, (leaf)[13] = (r)->r13, \
	 (leaf)[14] = (r)->r14, (leaf)[15] = (r)->r15)
/* The two lowest bits of cs are the privilege level; 3 is user mode. */
#define REGISTERS_USER_MODE(r) (((r)->cs & 3) == 3)
/* 32-bit code runs by a segment of its own (arch/x86/include/asm/segment.h, __USER32_CS). */
#define REGISTERS_32_BIT(r) ((r)->cs == 0x23)
/* Offset of a system call's first argument, in bytes from the start. */
#define REGISTERS_FIRST_ARGUMENT __builtin_offsetof(struct registers, di)
/* The number of bpf(2). */
#define SYS_BPF 321

#elif defined(STACKSONDE_AARCH64)

struct registers {
	u64 regs[31], sp, pc, pstate;
};

#define REGISTERS_PC(r) ((r)->pc)
#define REGISTERS_SP(r) ((r)->sp)
#define REGISTERS_FP(r) ((r)->regs[29])
#define REGISTERS_BX(r) (0ULL)
#define REGISTERS_LR(r) ((r)->regs[30])
/* No rule needs more than those above. */
#define REGISTERS_LEAF(leaf, r) ((leaf)[0] = 0)
/* PSR_MODE_MASK; EL0t is 0, for 64-bit and (with bit 4 set) for 32-bit user mode. */
#define REGISTERS_USER_MODE(r) (((r)->pstate & 0xf) == 0)
#define REGISTERS_32_BIT(r) (((r)->pstate & 0x10) != 0)
#define REGISTERS_FIRST_ARGUMENT __builtin_offsetof(struct registers, regs)
#define SYS_BPF 280

#else
#error "define STACKSONDE_X86_64 or STACKSONDE_AARCH64"
#endif

/* struct bpf_perf_event_data (include/uapi/linux/bpf_perf_event.h). Registers narrower than
 * eight bytes are still read as eight. */
struct perf_event_context {
	struct registers regs;
	u64 sample_period;
	u64 addr;
};

#endif
