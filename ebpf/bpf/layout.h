/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT */
/*
 * What crosses between kernel and user space, defined once. C makes structures of these lists;
 * the build script runs the C preprocessor over layout.rs.in to make the same ones for Rust.
 * Field types have the same names in both. Lists grow at their end.
 */
#ifndef STACKSONDE_LAYOUT_H
#define STACKSONDE_LAYOUT_H

/* Frames of one stack at most: the kernel's part (the default of kernel.perf_event_max_stack),
 * and the user's. */
#define MAX_KERNEL_FRAMES 127
#define MAX_USER_FRAMES 256

#define COMM_BYTES 16

/* How the user part of a sample ended. */
#define USER_ENDS(V) \
	V(COMPLETE, complete, 0, "The walk reached the root: a saved frame pointer of zero.") \
	V(KERNEL_THREAD, kernel_thread, 1, "A kernel thread: there is no user part.") \
	V(ENTRY_UNFINISHED, entry_unfinished, 2, "Sampled while user registers were being saved; they would be stale.") \
	V(NO_ENTRY_REGISTERS, no_entry_registers, 3, "Sampled in the kernel, and where it saves user registers is unknown.") \
	V(REGISTERS_UNREADABLE, registers_unreadable, 4, "The saved user registers could not be read.") \
	V(NO_FRAME_POINTER, no_frame_pointer, 5, "The innermost function keeps no frame pointer: it was zero.") \
	V(BAD_FRAME_POINTER, bad_frame_pointer, 6, "A frame pointer was misaligned or did not lead up the stack.") \
	V(STACK_UNREADABLE, stack_unreadable, 7, "The stack could not be read at a frame pointer.") \
	V(TOO_DEEP, too_deep, 8, "The stack has more frames than a record holds.") \
	V(KERNEL_WALK, kernel_walk, 9, "Walked by the kernel itself, which does not say how it ended.")

/* How the kernel part of a sample ended. */
#define KERNEL_ENDS(V) \
	V(NOT_IN_KERNEL, not_in_kernel, 0, "Sampled in user mode: there is no kernel part.") \
	V(WALKED, walked, 1, "Walked by the kernel.") \
	V(REFUSED, refused, 2, "The kernel gave no stack.") \
	V(SWITCHED_OFF, switched_off, 3, "Kernel stacks are switched off.")

/* One sample as it lies in a ring, followed by kernel_frames + user_frames addresses (u64),
 * leaf first. The first user address is the program counter, the others are return addresses. */
#define SAMPLE_FIELDS(F, A) \
	F(u64, time_ns, "CLOCK_MONOTONIC, nanoseconds.") \
	F(u64, cgroup_id, "Id of the task's cgroup in the default hierarchy; 0 if unknown.") \
	F(u32, pid, "Process id (the kernel's tgid), in the agent's pid namespace; 0 if it has none there.") \
	F(u32, tid, "Thread id (the kernel's pid), in the agent's pid namespace; 0 if it has none there.") \
	F(u32, cpu, "The CPU that was sampled.") \
	F(u16, kernel_frames, "Number of kernel addresses.") \
	F(u16, user_frames, "Number of user addresses.") \
	A(u8, comm, COMM_BYTES, "Name of the thread, zero padded.") \
	F(u64, user_pc, "User program counter; 0 without a user part.") \
	F(u64, user_sp, "User stack pointer.") \
	F(u64, user_fp, "User frame pointer.") \
	F(u64, user_lr, "User link register (arm64); else 0.") \
	F(u8, user_end, "A `UserEnd`.") \
	F(u8, kernel_end, "A `KernelEnd`.") \
	A(u8, reserved, 6, "Zero.")

/* What the sampler counts on each CPU. Every run of the program ends in exactly one of the
 * counters after `runs`. */
#define COUNTER_FIELDS(F, A) \
	F(u64, runs, "Runs of the sampling program.") \
	F(u64, idle, "Runs in the idle task, for which there is no record.") \
	F(u64, sent, "Records written to the ring.") \
	F(u64, ring_full, "Records lost because the ring was full.") \
	F(u64, no_ring, "Records lost because this CPU has no ring.") \
	F(u64, no_scratch, "Records lost because the scratch area could not be had.")

/* What happened to a process. */
#define NOTICE_EXEC 1
#define NOTICE_EXIT 2
#define NOTICE_FIELDS(F, A) \
	F(u64, time_ns, "CLOCK_MONOTONIC, nanoseconds.") \
	F(u32, pid, "Process id, in the agent's pid namespace.") \
	F(u32, tid, "Thread id, in the agent's pid namespace.") \
	F(u32, kind, "NOTICE_EXEC or NOTICE_EXIT.") \
	F(u32, reserved, "Zero.") \
	A(u8, comm, COMM_BYTES, "Name of the thread, zero padded.")

/* What the analysis program is asked to read. */
#define REQUEST_FIELDS(F, A) \
	F(u64, cookie, "Tells this request from others, and our system call from those of others; not 0.") \
	F(u64, from_task, "1: `address` counts from the `task_struct` of the thread that makes the call.") \
	F(u64, address, "Where to read.") \
	F(u64, follow, "1: read the pointer there first, and then where it leads.") \
	F(u64, after, "Bytes after what the pointer points to.") \
	F(u64, bytes, "How much to read: 1 to PEEK_MAX_BYTES.")

/* What the analysis program reads at one place of kernel memory. */
#define PEEK_MAX_BYTES 4096
#define PEEK_FIELDS(F, A) \
	F(u64, address, "Where it read, after following.") \
	F(u64, task, "The `task_struct` of the thread that made the call.") \
	F(u64, cookie, "That of the request that was answered.") \
	F(u64, refused, "0, or the error number with which the read was refused.") \
	A(u8, bytes, PEEK_MAX_BYTES, "What it read; only as many bytes as were asked for are meant.")

#endif
