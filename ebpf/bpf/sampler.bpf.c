// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sampler: runs on every tick of a CPU's perf event and writes one record to that CPU's ring.
 *
 * Everything here is written as if in NMI. No other program touches the rings or the scratch
 * area, and a CPU's sampler never interrupts itself (the kernel skips the nested run, and the
 * host finds it by the event's own count).
 */
#include "kernel.h"
#include "filter.h"
#include "ids.h"
#include "layout.h"
#include "registers.h"
#include "unwind.h"

#define FIELD(type, name, text) type name;
#define ARRAY(type, name, length, text) type name[length];
#define KERNEL_END(name, lower, number, text) KERNEL_END_##name = number,

struct sample {
	SAMPLE_FIELDS(FIELD, ARRAY)
};
/* Lines of its own for each CPU. */
struct counters {
	COUNTER_FIELDS(FIELD, ARRAY)
} __attribute__((aligned(64)));
enum { KERNEL_ENDS(KERNEL_END) };

static_assert(sizeof(struct sample) % sizeof(u64) == 0, "addresses follow the header, aligned");
static_assert(MAX_KERNEL_FRAMES < 128, "masked with 127 below");

/* The search for the pages of a stack: the next page, how many were copied; in a hole its last page and the
 * first one after it that are known, and the step with which that is searched. */
struct search {
	u64 page, copied, low, high, step;
	/* Pages to copy at most. */
	u64 pages;
};

/* A record under construction. The kernel may fill all of its part before the user's is known,
 * so there is room for both at their largest. */
struct scratch {
	struct sample sample;
	u64 frames[MAX_KERNEL_FRAMES + MAX_USER_FRAMES];
	u64 leaf[LEAF_REGISTERS];
	u8 stack[MAX_STACK_PAGES * STACK_PAGE_BYTES];
	struct search search;
	struct walk walk;
};

/* Facts and choices, set by the host before loading; the verifier removes what they rule out. */

/* Offset of task_struct.stack and, from there, of the registers saved on entry; 0: unknown. */
const volatile u32 task_struct_stack = 0;
const volatile u32 stack_pt_regs = 0;
/* 1: walk kernel stacks. */
const volatile u32 kernel_stacks = 1;
/* 1: ask for the cgroup (helper bpf_get_current_cgroup_id exists). */
const volatile u32 cgroup_ids = 1;
/* Lines of the tables `processes` and `pages`, less one; both are powers of two. */
const volatile u32 process_lines_mask = 0;
const volatile u32 page_lines_mask = 0;
/* Lines of the table `recent`, less one; as many as a power of two, 65536 at most. */
const volatile u32 recent_lines_mask = 0;
/* 1: rules found lately are used at all. */
const volatile u32 use_recent = 0;
/* 1: each rule found there is looked up, too, and differences are counted. */
const volatile u32 verify_recent = 0;
/* Buckets of the table `filter`, less one; a power of two. */
const volatile u32 filter_lines_mask = 0;
/* Pages of the stack that are copied at most where tables are wanting; MAX_STACK_PAGES or less. */
const volatile u32 stack_pages = DEFAULT_STACK_PAGES;
/* 1: every record has a copy of the stack, from the innermost frame on (for tests). */
const volatile u32 copy_always = 0;
/* Unread bytes in a ring above which its reader is woken at once. */
const volatile u64 wake_bytes = 0;

/* By CPU. (The kernel takes no per-CPU values of this size.) */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct scratch);
} scratch SEC(".maps");

/* The unwind tables of layout.h; the host sets their sizes. */
#define TABLE(name, record) \
	struct { \
		MAP_UINT(type, BPF_MAP_TYPE_ARRAY); \
		MAP_UINT(map_flags, BPF_F_MMAPABLE); \
		MAP_UINT(max_entries, 1); \
		MAP_TYPE(key, u32); \
		MAP_TYPE(value, record); \
	} name SEC(".maps")
TABLE(processes, struct line);
TABLE(mappings, struct mapping);
TABLE(pages, struct line);
TABLE(rows, struct line);
TABLE(recent, struct line);
TABLE(rules, u64);
/* The exclusions, also of layout.h. */
TABLE(filter, struct filter_line);
/* By CPU: user space reads them without a system call, during which no sampler would run on its CPU, and without
 * having to know how many CPUs the kernel calls possible. */
TABLE(counters, struct counters);

struct ring {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 1 << 16);
};

/* One ring per CPU; the host puts in the real ones. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_VALUES(values, struct ring);
} rings SEC(".maps");

static ALWAYS_INLINE struct filter_line *filter_line(u32 line)
{
	return bpf_map_lookup_elem(&filter, &line);
}

static ALWAYS_INLINE u32 filter_mask(void)
{
	return filter_lines_mask;
}

static ALWAYS_INLINE void current_name(u64 name[2])
{
	bpf_get_current_comm(name, COMM_BYTES);
}

static ALWAYS_INLINE u64 current_cgroup(void)
{
	return cgroup_ids ? bpf_get_current_cgroup_id() : 0;
}

static ALWAYS_INLINE struct line *process_line(u32 line)
{
	return bpf_map_lookup_elem(&processes, &line);
}

static ALWAYS_INLINE struct line *page_line(u32 line)
{
	return bpf_map_lookup_elem(&pages, &line);
}

static ALWAYS_INLINE struct line *row_line(u32 line)
{
	return bpf_map_lookup_elem(&rows, &line);
}

static ALWAYS_INLINE struct mapping *mapping_at(u32 index)
{
	return bpf_map_lookup_elem(&mappings, &index);
}

static ALWAYS_INLINE struct line *recent_line(u32 hash)
{
	u32 line = hash & recent_lines_mask;

	return use_recent ? bpf_map_lookup_elem(&recent, &line) : 0;
}

static ALWAYS_INLINE u32 check_recent(void)
{
	return verify_recent;
}

static ALWAYS_INLINE u64 *rule_word(u32 index)
{
	return bpf_map_lookup_elem(&rules, &index);
}

static ALWAYS_INLINE s64 read_user(void *to, u32 bytes, u64 from)
{
	return bpf_probe_read_user(to, bytes, (void *)from);
}

static ALWAYS_INLINE u32 process_mask(void)
{
	return process_lines_mask;
}

static ALWAYS_INLINE u32 page_mask(void)
{
	return page_lines_mask;
}

/*
 * One frame of the walk that this CPU's scratch area holds; `first` is the index of its first frame. A global
 * function: the verifier checks it once, by itself, and not once a frame.
 */
__attribute__((noinline)) int unwind_frame(u32 cpu, u32 first)
{
	struct scratch *record = bpf_map_lookup_elem(&scratch, &cpu);

	if (!record)
		return USER_END_REGISTERS_UNREADABLE;
	u8 moved = leave_frame(&record->walk);
	u32 slot = first + record->walk.count;
	if (moved != MOVED)
		return moved;
	if (slot >= MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
		return USER_END_TOO_DEEP;
	u64 mark = (u64)record->walk.exact << USER_FRAME_EXACT_BIT;
	record->frames[slot] = record->walk.pc | mark;
	/* Who returns to where a signal's registers are restored was never called from there. */
	u32 before = slot - 1;
	if (mark && record->walk.count > 1 && before < MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
		record->frames[before] |= mark;
	record->walk.count++;
	return MOVED;
}

/* A macro: the verifier wants the perf context read a register at a time, from the context itself. */
#define BEGIN(walk, registers) \
	((walk)->pc = REGISTERS_PC(registers), (walk)->sp = REGISTERS_SP(registers), \
	 (walk)->fp = REGISTERS_FP(registers), (walk)->bx = REGISTERS_BX(registers), \
	 (walk)->lr = REGISTERS_LR(registers), (walk)->exact = 1, \
	 (walk)->window_start = ~0ULL - sizeof((walk)->window), REGISTERS_LEAF((walk)->leaf, registers))

/*
 * The registers with which the task entered the kernel, from the top of its kernel stack.
 * Returns a USER_END_ value; COMPLETE means that `walk` has them.
 */
static ALWAYS_INLINE u8 entry_registers(u64 kernel_sp, struct walk *walk)
{
	if (!stack_pt_regs)
		return USER_END_NO_ENTRY_REGISTERS;

	u64 stack = 0;
	if (bpf_probe_read_kernel(&stack, sizeof(stack), (void *)(bpf_get_current_task() + task_struct_stack)))
		return USER_END_REGISTERS_UNREADABLE;

	u64 area = stack + stack_pt_regs;
	if (kernel_sp >= area && kernel_sp < area + sizeof(struct registers))
		return USER_END_ENTRY_UNFINISHED;

	struct registers entry;
	if (bpf_probe_read_kernel(&entry, sizeof(entry), (void *)area))
		return USER_END_REGISTERS_UNREADABLE;
	/* A kernel thread has no user registers; an I/O worker of a process has them with pc 0. */
	if (!REGISTERS_USER_MODE(&entry) || !REGISTERS_PC(&entry))
		return USER_END_KERNEL_THREAD;

	BEGIN(walk, &entry);
	return REGISTERS_32_BIT(&entry) ? USER_END_IS_32_BIT : USER_END_COMPLETE;
}

/*
 * Walks user frames by the tables, from the registers in the scratch area on. `first` is the index of
 * the first free frame. Returns the number of frames and, through `end`, a USER_END_.
 */
static ALWAYS_INLINE u32 walk_by_tables(struct scratch *record, u32 cpu, u32 first, u8 *end)
{
	struct sample *head = &record->sample;
	u32 name = head->pid == head->tid ? name_mark((u64 *)head->comm) : 0;

	record->frames[first & 127] = record->walk.pc;
	record->walk.count = 1;
	record->walk.recalled = record->walk.looked_up = record->walk.mistaken = 0;
	record->walk.leaf_wanting = record->walk.leaf_made = record->walk.lowered = 0;
	if (!find_process(&record->walk, head->pid, name)) {
		*end = USER_END_NO_PROCESS;
		return 1;
	}
	int moved = MOVED;
#pragma clang loop unroll(disable)
	for (u32 i = 1; i < MAX_USER_FRAMES && moved == MOVED; i++)
		moved = unwind_frame(cpu, first);
	*end = moved == MOVED ? USER_END_TOO_DEEP : moved;
	u32 count = record->walk.count;
	return count <= MAX_USER_FRAMES ? count : MAX_USER_FRAMES;
}

/* So much of a stack is copied at least where only the innermost function's caller is wanted. */
#define LEAF_STACK_BYTES 512

/* Turns of the loop below: each page that is copied is one, and the largest hole eleven, so that four of those are
 * crossed. */
#define STACK_TURNS (MAX_STACK_PAGES + 4 * 11)

/*
 * Copies the stack from the page of `sp` on into this CPU's scratch area. Pages that cannot be read are left
 * out: large arrays on the stack leave some that were never touched, and the page of `sp` itself may be the
 * one that is just being faulted in. A page that cannot be read costs a fault, and every copy ends in a hole,
 * so a hole is crossed in steps that double, and its end found by bisection. A global function, with what it
 * counts in memory, so that the verifier sees one state for all numbers.
 */
__attribute__((noinline)) int copy_stack(u32 cpu, u64 sp)
{
	struct scratch *record = bpf_map_lookup_elem(&scratch, &cpu);
	u64 start = sp & ~(u64)(STACK_PAGE_BYTES - 1);

	if (!record)
		return 0;
	volatile struct search *search = &record->search;
	search->page = search->copied = search->step = 0;
	__builtin_memcpy(record->leaf, record->walk.leaf, sizeof(record->leaf));
	record->sample.stack_start = start;
	record->sample.stack_present = 0;
#pragma clang loop unroll(disable)
	for (u32 turn = 0; turn < STACK_TURNS; turn++) {
		u64 at = search->copied, page = search->page, low = search->low, high = search->high;
		u8 byte;

		if (at >= MAX_STACK_PAGES || at >= search->pages || page >= STACK_SPAN_PAGES)
			break;
		if (!search->step) {
			if (!bpf_probe_read_user(&record->stack[at * STACK_PAGE_BYTES], STACK_PAGE_BYTES,
						 (void *)(start + page * STACK_PAGE_BYTES))) {
				record->sample.stack_present |= 1ULL << page;
				search->copied = at + 1;
				search->page = page + 1;
			} else {
				search->low = page;
				search->high = 0;
				search->step = 1;
			}
			continue;
		}
		if (high && high - low <= 1) {
			search->page = high;
			search->step = 0;
			continue;
		}
		u64 middle = high ? (low + high) / 2 : low + search->step;
		if (!bpf_probe_read_user(&byte, 1, (void *)(start + middle * STACK_PAGE_BYTES))) {
			search->high = middle;
		} else {
			search->low = middle;
			search->step *= 2;
			if (!high && search->step > STACK_HOLE_PAGES)
				break;
		}
	}
	record->sample.stack_bytes = search->copied * STACK_PAGE_BYTES;
	return 0;
}

/* Tells whether no memory of a process can be read any more, neither the stack nor the code it
 * left. */
static ALWAYS_INLINE u32 has_no_memory(const struct walk *walk)
{
	u8 byte;

	return read_user(&byte, 1, walk->sp) && read_user(&byte, 1, walk->pc - 1);
}

/* Mitigation of copy_from_user_nofault: the kernel walks, within its own limit. */
static ALWAYS_INLINE u32 walk_by_kernel(void *context, struct scratch *record, u32 first, u8 *end)
{
	s64 bytes = bpf_get_stack(context, &record->frames[first & 127], MAX_KERNEL_FRAMES * sizeof(u64), BPF_F_USER_STACK);
	*end = bytes > 0 ? USER_END_KERNEL_WALK : USER_END_STACK_UNREADABLE;
	return bytes > 0 ? (u32)bytes / sizeof(u64) : 0;
}

/* Fills the kernel part; returns the number of frames. */
static ALWAYS_INLINE u32 kernel_part(void *context, struct scratch *record)
{
	if (!kernel_stacks) {
		record->sample.kernel_end = KERNEL_END_SWITCHED_OFF;
		return 0;
	}
	s64 bytes = bpf_get_stack(context, record->frames, MAX_KERNEL_FRAMES * sizeof(u64), 0);
	record->sample.kernel_end = bytes > 0 ? KERNEL_END_WALKED : KERNEL_END_REFUSED;
	return bytes > 0 ? ((u32)bytes / sizeof(u64)) & 127 : 0;
}

static ALWAYS_INLINE int take_sample(struct perf_event_context *context, int by_tables)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct counters *count = bpf_map_lookup_elem(&counters, &cpu);
	if (!count)
		return 0;
	count->runs++;

	u64 ids = bpf_get_current_pid_tgid();
	if (!ids) {
		count->idle++;
		return 0;
	}
	ids = own_ids(ids);
	if (is_excluded(ids)) {
		count->excluded++;
		return 0;
	}
	struct scratch *record = bpf_map_lookup_elem(&scratch, &cpu);
	if (!record) {
		count->no_scratch++;
		return 0;
	}
	void *ring = bpf_map_lookup_elem(&rings, &cpu);
	if (!ring) {
		count->no_ring++;
		return 0;
	}

	struct sample *head = &record->sample;
	head->time_ns = bpf_ktime_get_ns();
	head->cgroup_id = current_cgroup();
	head->pid = ids >> 32;
	head->tid = (u32)ids;
	head->cpu = cpu;
	/* Some kernels (6.1 is one) leave what stands behind the end of the name. */
	__builtin_memset(head->comm, 0, sizeof(head->comm));
	bpf_get_current_comm(head->comm, sizeof(head->comm));

	struct walk *walk = &record->walk;
	u8 end = USER_END_COMPLETE;
	u32 kernel_frames = 0;
	if (REGISTERS_USER_MODE(&context->regs)) {
		head->kernel_end = KERNEL_END_NOT_IN_KERNEL;
		BEGIN(walk, &context->regs);
		if (REGISTERS_32_BIT(&context->regs))
			end = USER_END_IS_32_BIT;
	} else {
		kernel_frames = kernel_part(context, record);
		end = entry_registers(REGISTERS_SP(&context->regs), walk);
	}

	u32 user_frames = 0;
	head->stack_bytes = 0;
	head->urgent = 0;
	head->epoch = 0;
	if (end == USER_END_COMPLETE) {
		if (!by_tables) {
			user_frames = walk_by_kernel(context, record, kernel_frames, &end);
		} else {
			u64 leaf_sp = walk->sp, leaf_fp = walk->fp, leaf_lr = walk->lr;
			user_frames = walk_by_tables(record, cpu, kernel_frames, &end);
			head->epoch = walk->epoch;
			count->frames_recalled += walk->recalled;
			count->frames_looked_up += walk->looked_up;
			count->frames_mistaken += walk->mistaken;
			u32 pages = stack_pages;
			u32 made = walk->leaf_made && (end == USER_END_COMPLETE || end == USER_END_NO_MAPPING ||
						       end == USER_END_NO_ROWS);
			/* Only the return address of the innermost function is wanted: it lies near its stack pointer. */
			if (made && end == USER_END_COMPLETE && !copy_always)
				pages = (leaf_sp & (STACK_PAGE_BYTES - 1)) > STACK_PAGE_BYTES - LEAF_STACK_BYTES ? 2 : 1;
			if (walk->leaf_wanting || made) {
				/* User space begins where the walk began. */
				if (end != USER_END_COMPLETE)
					user_frames = 1;
				end = end == USER_END_COMPLETE	 ? USER_END_NO_LEAF_ROWS :
				      end == USER_END_NO_MAPPING ? USER_END_NO_MAPPING :
								   USER_END_NO_ROWS;
				walk->pc = record->frames[kernel_frames & 127];
				walk->sp = leaf_sp;
				walk->fp = leaf_fp;
				walk->lr = leaf_lr;
				walk->exact = 1;
			}
			u32 wanting = end == USER_END_NO_LEAF_ROWS || end == USER_END_NO_PROCESS ||
				      end == USER_END_NO_MAPPING || end == USER_END_NO_ROWS || end == USER_END_TOO_DEEP;
			if (wanting || copy_always) {
				record->search.pages = pages;
				copy_stack(cpu, copy_always ? leaf_sp : walk->sp);
				if (wanting && !head->stack_bytes && end != USER_END_TOO_DEEP)
					end = USER_END_STACK_UNREADABLE;
				/* A new process may be gone soon, and a stack larger than its copy is read where it is. */
				head->urgent = head->stack_bytes >= stack_pages * STACK_PAGE_BYTES ||
					       (wanting && (end == USER_END_NO_MAPPING ||
							    !(walk->region & REGION_SETTLED)));
			}
			if (end == USER_END_STACK_UNREADABLE && user_frames == 1 && kernel_frames &&
			    has_no_memory(walk))
				end = USER_END_MEMORY_GONE;
		}
		head->user_pc = walk->pc;
		head->user_sp = walk->sp;
		head->user_fp = walk->fp;
		head->user_bx = walk->bx;
		head->user_lr = walk->lr;
		head->user_exact = walk->exact;
	} else {
		head->user_pc = 0;
		if (end == USER_END_IS_32_BIT) {
			record->frames[kernel_frames & 127] = walk->pc;
			user_frames = 1;
		}
	}

	head->kernel_frames = kernel_frames;
	head->user_frames = user_frames;
	head->user_end = end;

	u64 bytes = sizeof(*head) + (kernel_frames + user_frames) * sizeof(u64);
	if (head->stack_bytes)
		bytes = sizeof(*head) + sizeof(record->frames) + sizeof(record->leaf) + head->stack_bytes;
	if (bytes > sizeof(*head) + sizeof(record->frames) + sizeof(record->leaf) + sizeof(record->stack))
		bytes = sizeof(*head) + sizeof(record->frames) + sizeof(record->leaf) + sizeof(record->stack);
	u32 full = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > wake_bytes;
	u64 wake = head->urgent || full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_output(ring, record, bytes, wake))
		count->ring_full++;
	else
		count->sent++;
	return 0;
}

/* The host loads one of these. */

SEC("perf_event")
int sample(struct perf_event_context *context)
{
	return take_sample(context, 1);
}

/* Never reads user memory and contains nothing that would, for kernels where that is not safe, or
 * whose verifier refuses the walk by tables (which it also checks where it is not reached). */
SEC("perf_event")
int sample_by_kernel_walk(struct perf_event_context *context)
{
	return take_sample(context, 0);
}

char LICENSE[] SEC("license") = "GPL";
