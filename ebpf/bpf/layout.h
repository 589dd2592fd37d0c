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

/* Outcomes of the user part of a sample. Those marked * say at which point the sampler stopped for
 * lack of tables; user space goes on from there with the copy of the stack, and gives the final
 * answer. */
#define USER_ENDS(V) \
	V(COMPLETE, complete, 0, "The walk reached a root: code that the kernel or a maker of threads or stacks entered.") \
	V(KERNEL_THREAD, kernel_thread, 1, "A kernel thread: there is no user part.") \
	V(ENTRY_UNFINISHED, entry_unfinished, 2, "Sampled while user registers were being saved; they would be stale.") \
	V(NO_ENTRY_REGISTERS, no_entry_registers, 3, "Sampled in the kernel, and where it saves user registers is unknown.") \
	V(REGISTERS_UNREADABLE, registers_unreadable, 4, "The saved user registers could not be read.") \
	V(NO_FRAME_POINTER, no_frame_pointer, 5, "Code without unwind information, and the frame pointer was zero.") \
	V(BAD_FRAME_POINTER, bad_frame_pointer, 6, "Code without unwind information, and the frame pointer did not lead up the stack.") \
	V(STACK_UNREADABLE, stack_unreadable, 7, "The stack could not be read where the next frame lies.") \
	V(TOO_DEEP, too_deep, 8, "* The stack has more frames than are kept, which are the innermost ones.") \
	V(KERNEL_WALK, kernel_walk, 9, "Walked by the kernel itself, which does not say how it ended.") \
	V(NO_PROCESS, no_process, 10, "* The mappings of the process were not in the tables.") \
	V(NO_MAPPING, no_mapping, 11, "* An address lay in no mapping of the tables.") \
	V(NO_ROWS, no_rows, 12, "* The unwind rows of a page of code were not in the tables.") \
	V(UNSUPPORTED_RULE, unsupported_rule, 13, "An unwind rule of a kind that is not understood.") \
	V(BAD_FRAME, bad_frame, 14, "An unwind rule led to a frame that does not lie above the one before.") \
	V(STACK_CUT, stack_cut, 15, "The stack is larger than what is copied for a walk in user space.") \
	V(NO_CODE, no_code, 16, "A return address lies in no executable mapping.") \
	V(MEMORY_GONE, memory_gone, 17, "The process was ending and had no memory any more, so its callers are unknown.") \
	V(CODE_REPLACED, code_replaced, 18, "Other code had just taken the place of what the tables knew, so the walk may be wrong.") \
	V(NO_LEAF_ROWS, no_leaf_rows, 19, "* Whether the innermost function has a frame was wanting (Go's, or made at run time); by frame pointers the walk reached a root.") \
	V(RETURN_PROBED, return_probed, 20, "A probe on a function's return (uretprobe) has put its own address in the place of the caller's.") \
	V(IS_32_BIT, is_32_bit, 21, "A 32-bit program, whose stack is not walked.")

/* Outcomes of the kernel part of a sample. */
#define KERNEL_ENDS(V) \
	V(NOT_IN_KERNEL, not_in_kernel, 0, "Sampled in user mode: there is no kernel part.") \
	V(WALKED, walked, 1, "Walked by the kernel.") \
	V(REFUSED, refused, 2, "The kernel gave no stack.") \
	V(SWITCHED_OFF, switched_off, 3, "Kernel stacks are switched off.")

/* One sample as it lies in a ring, followed by kernel_frames + user_frames addresses (u64),
 * leaf first. The first user address is the program counter, the others are return addresses, or with
 * the USER_FRAME_EXACT_BIT the places where execution stood or stands next.
 * If there is a copy of the stack, LEAF_REGISTERS registers and that copy follow at the place after
 * MAX_KERNEL_FRAMES + MAX_USER_FRAMES addresses. */
#define USER_FRAME_EXACT_BIT 63
#define SAMPLE_FIELDS(F, A) \
	F(u64, time_ns, "CLOCK_MONOTONIC, nanoseconds.") \
	F(u64, cgroup_id, "Id of the task's cgroup in the default hierarchy; 0 if unknown.") \
	F(u32, pid, "Process id (the kernel's tgid), in the agent's pid namespace; 0 if it has none there.") \
	F(u32, tid, "Thread id (the kernel's pid), in the agent's pid namespace; 0 if it has none there.") \
	F(u32, cpu, "The CPU that was sampled.") \
	F(u16, kernel_frames, "Number of kernel addresses.") \
	F(u16, user_frames, "Number of user addresses.") \
	A(u8, comm, COMM_BYTES, "Name of the thread, zero padded.") \
	F(u64, user_pc, "Program counter of the frame at which the walk ended; 0 without a user part.") \
	F(u64, user_sp, "Its stack pointer.") \
	F(u64, user_fp, "Its frame pointer.") \
	F(u64, user_bx, "Its rbx (x86-64); else 0.") \
	F(u64, user_lr, "Its link register (arm64); else 0.") \
	F(u64, stack_start, "Address of the page with which the copy of the stack begins.") \
	F(u64, stack_present, "Which pages from there on are in the copy: a bit each, the lowest first.") \
	F(u32, stack_bytes, "Bytes of the copy of the stack; 0 unless tables were wanting.") \
	F(u8, user_end, "A `UserEnd`.") \
	F(u8, kernel_end, "A `KernelEnd`.") \
	F(u8, user_exact, "1 if user_pc is where execution stood, 0 if it is a return address.") \
	F(u8, urgent, "1 if it cannot wait with others: see `take_sample`.") \
	F(u32, epoch, "Epoch of the process in the tables by which it was walked; 0: it was not in them.") \
	F(u32, reserved_too, "Zero.")

/* A copy of the stack: so many whole pages at most, out of a span that begins with the page of the stack
 * pointer; it ends where more than STACK_HOLE_PAGES side by side cannot be read. (One less than a power of
 * two: the hole's end is searched in steps that double.) */
#define STACK_PAGE_BYTES 4096
#define DEFAULT_STACK_PAGES 17
#define MAX_STACK_PAGES 17
#define STACK_SPAN_PAGES 64
#define STACK_HOLE_PAGES 31

/* Counters of the sampler on each CPU. Every run of the program ends in exactly one of the counters
 * after `runs`, up to `excluded`. */
#define COUNTER_FIELDS(F, A) \
	F(u64, runs, "Runs of the sampling program.") \
	F(u64, idle, "Runs in the idle task, for which there is no record.") \
	F(u64, sent, "Records written to the ring.") \
	F(u64, ring_full, "Records lost because the ring was full.") \
	F(u64, no_ring, "Records lost because this CPU has no ring.") \
	F(u64, no_scratch, "Records lost because the scratch area could not be had.") \
	F(u64, excluded, "Runs in processes that the filter leaves out, for which there is no record.") \
	F(u64, frames_recalled, "Frames whose rule was found in the table `recent`.") \
	F(u64, frames_looked_up, "Frames whose rule was found by mapping, page and row.") \
	F(u64, frames_mistaken, "Frames for which the two gave another rule; only counted where that is checked.")

/* Kinds of process events. */
#define NOTICE_EXEC 1
#define NOTICE_EXIT 2
#define NOTICE_FIELDS(F, A) \
	F(u64, time_ns, "CLOCK_MONOTONIC, nanoseconds.") \
	F(u32, pid, "Process id, in the agent's pid namespace.") \
	F(u32, tid, "Thread id, in the agent's pid namespace.") \
	F(u32, kind, "NOTICE_EXEC or NOTICE_EXIT.") \
	F(u32, reserved, "Zero.") \
	A(u8, comm, COMM_BYTES, "Name of the thread, zero padded.")

/* A request for the analysis program to read. */
#define REQUEST_FIELDS(F, A) \
	F(u64, cookie, "Tells this request from others, and our system call from those of others; not 0.") \
	F(u64, from_task, "1: `address` counts from the `task_struct` of the thread that makes the call.") \
	F(u64, address, "The address to read.") \
	F(u64, follow, "1: read the pointer there first, and then where it leads.") \
	F(u64, after, "Bytes after what the pointer points to.") \
	F(u64, bytes, "The number of bytes to read: 1 to PEEK_MAX_BYTES.")

/* The answer of the analysis program: bytes at one place of kernel memory. */
#define PEEK_MAX_BYTES 4096
#define PEEK_FIELDS(F, A) \
	F(u64, address, "The address that it read, after following.") \
	F(u64, task, "The `task_struct` of the thread that made the call.") \
	F(u64, cookie, "That of the request that was answered.") \
	F(u64, refused, "0, or the error number with which the read was refused.") \
	A(u8, bytes, PEEK_MAX_BYTES, "The bytes that it read; only as many bytes as were asked for are meant.")


/*
 * Unwind tables, written by user space through shared memory, read by the sampler. All are arrays of
 * u64 words in lines of LINE_WORDS (a cache line); nothing in them is a pointer.
 *
 * processes  open addressing by pid, PROCESS_PROBES lines from its hash on; a slot is two words:
 *            pid | epoch << 32 (0: free), then first mapping | count << REGION_COUNT_SHIFT |
 *            mark of the main thread's name << REGION_NAME_SHIFT (0: unknown) | REGION_SETTLED
 *            The epoch is another each time that the mappings of any process are put in. Under another name
 *            the process runs another program, most likely, of which nothing is known yet.
 * mappings   four words each, those of a process side by side, by address:
 *            start, end, file address minus address, executable | MAPPING_ kind << 32
 * pages      open addressing by (executable, page of file addresses), PAGE_PROBES lines from its hash
 *            on; a slot is one word: tag | line in `rows` << 32 (0: free)
 * rows       a block for each page, a header line and row lines.
 *            header: executable | page << 32, then BUCKETS + 1 row numbers of 16 bits, four a word:
 *            where the rows of each BUCKET_BYTES of code begin; the first row of a bucket that has
 *            any begins at its first byte.
 *            row (32 bits, two a word): first byte it holds for, within the bucket | rule << 16
 * recent     rules that were found lately, written by the sampler itself. A bucket of one line; the low
 *            bits of a hash of epoch and address choose it. A slot is a word: the high 48 bits of the
 *            hash, then the number of the rule. So a process whose mappings change leaves nothing behind
 *            that could be found again.
 * rules      numbers 0 and 1 are RULE_NONE without and with cfa 1.
 *            one word each: RULE_ kind | cfa << 8 (24 bits) | fp << 32 | other << 48, the last three
 *            signed, in units of 8 bytes
 */
#define LINE_WORDS 8
#define MAPPING_LENGTH 4
#define REGION_COUNT_SHIFT 24
#define REGION_NAME_SHIFT 44
#define REGION_NAME_BITS 19
/* It has been there for a while: what is wanting of it can wait for others of its kind. */
#define REGION_SETTLED (1ULL << 63)
#define PROCESS_PROBES 4
#define PAGE_PROBES 2
#define PAGE_SHIFT 12
#define BUCKET_SHIFT 8
#define BUCKETS 16

/* Fibonacci hashing: the high half chooses the line, the low half is the tag. */
#define TABLE_HASH_FACTOR 0x9e3779b97f4a7c15

/* Kinds of a mapping's code. */
#define MAPPING_KINDS(V) \
	V(ROWS, rows, 0, "It has unwind rows, by page.") \
	V(FRAME_POINTERS, frame_pointers, 1, "Made at run time: frame pointers are followed; user space looks whether the innermost frame is one.") \
	V(BARE, bare, 2, "A file without any: frame pointers are followed, from one stack to another, too.") \
	V(GO, go, 3, "Go's code: pages with rows for the innermost frame, which may have set up no frame pointer; then as bare.")

/* Ways to compute a canonical frame address (CFA, DWARF 5, 6.4), and with it the registers of the
 * caller. */
#define RULE_KINDS(V) \
	V(NONE, none, 0, "No unwind information: the frame pointer is followed; cfa 1: onto another stack, too.") \
	V(SP, sp, 1, "cfa = sp + cfa") \
	V(FP, fp, 2, "cfa = fp + cfa") \
	V(BX, bx, 3, "cfa = rbx + cfa (x86-64)") \
	V(PLT, plt, 4, "cfa = sp + 8 + (8 if pc % 16 >= cfa) (x86-64)") \
	V(DEREF_SP, deref_sp, 5, "cfa = *(sp + cfa) + other") \
	V(DEREF_FP, deref_fp, 6, "cfa = *(fp + cfa) + other") \
	V(SIGNAL, signal, 7, "A signal frame: all registers lie in the context that sp points at.") \
	V(END, end, 8, "The return address is undefined: a root.") \
	V(UNSUPPORTED, unsupported, 9, "A rule that is not understood.") \
	V(ENTRY, entry, 10, "No call precedes: as a return address it was made by hand, for a stack that begins there.") \
	V(REGISTER, register, 16, "16 to 31: cfa = register of that DWARF number less 16, + cfa (a leaf; x86-64)") \
	V(RETURN_IN, return_in, 32, "32 to 47: cfa = sp + cfa, the return address is in a register (a leaf; x86-64)")

/* Registers of the innermost frame, by DWARF number (x86-64: rax rdx rcx rbx rsi rdi rbp rsp r8 to r15). */
#define LEAF_REGISTERS 16

/* Values of a rule's `fp` and `other` that are not an offset from the CFA. */
#define SAVED_NOT 0x7fff /* the register keeps its value */
#define SAVED_AT_FP 0x7ffe /* fp = *fp; each less by one: 8 bytes further, */
#define SAVED_AT_FP_LEAST 0x7f80 /* down to this */

/*
 * The filter: what is excluded, written by user space through shared memory, read by the sampler (filter.h)
 * before anything else. An array of lines of LINE_WORDS. The first word of line 0 is made of FILTER_ASKS_ and
 * FILTER_HAS_ bits; 0: nothing is excluded. Every other line is a bucket of slots of two words; a hash of what
 * is looked for chooses the one bucket in which it may stand. The second word's highest byte is the slot's kind
 * (0: free):
 *
 * FILTER_CGROUP   id of the cgroup; 0
 *                 everything in that cgroup is excluded
 * FILTER_NAME     bytes 0 to 7 of a name; bytes 8 to 14
 *                 every process whose main thread is called so is excluded
 * FILTER_PROCESS  pid | hash of its name << 32; id of its cgroup (56 bits)
 *                 that process is excluded for as long as name (asked of the main thread only) and cgroup
 *                 are the same; each is 0 unless it is asked for
 */
#define FILTER_KIND_SHIFT 56
#define FILTER_CGROUP 1
#define FILTER_NAME 2
#define FILTER_PROCESS 3

#define FILTER_ASKS_CGROUP 1
#define FILTER_ASKS_NAME 2
#define FILTER_HAS_CGROUPS 4
#define FILTER_HAS_NAMES 8
#define FILTER_HAS_PROCESSES 16

#endif
