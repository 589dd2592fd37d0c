// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sampler: runs on every tick of a CPU's perf event and writes one record to that CPU's ring.
 *
 * Everything here is written as if in NMI. No other program touches the rings or the scratch
 * area, and a CPU's sampler never interrupts itself (the kernel skips the nested run, and the
 * host finds it by the event's own count).
 */
#include "kernel.h"
#include "ids.h"
#include "layout.h"
#include "registers.h"

#define FIELD(type, name, text) type name;
#define ARRAY(type, name, length, text) type name[length];
#define USER_END(name, lower, number, text) USER_END_##name = number,
#define KERNEL_END(name, lower, number, text) KERNEL_END_##name = number,

struct sample {
	SAMPLE_FIELDS(FIELD, ARRAY)
};
struct counters {
	COUNTER_FIELDS(FIELD, ARRAY)
};
enum { USER_ENDS(USER_END) };
enum { KERNEL_ENDS(KERNEL_END) };

static_assert(sizeof(struct sample) % sizeof(u64) == 0, "addresses follow the header, aligned");
static_assert(MAX_KERNEL_FRAMES < 128, "masked with 127 below");

/* A record under construction. The kernel may fill all of its part before the user's is known,
 * so there is room for both at their largest. */
struct scratch {
	struct sample sample;
	u64 frames[MAX_KERNEL_FRAMES + MAX_USER_FRAMES];
};

/* Facts and choices, set by the host before loading; the verifier removes what they rule out. */

/* Offset of task_struct.stack and, from there, of the registers saved on entry; 0: unknown. */
const volatile u32 task_struct_stack = 0;
const volatile u32 stack_pt_regs = 0;
/* 1: never read user memory; take user stacks by the kernel's own walk instead. */
const volatile u32 no_user_reads = 0;
/* 1: walk kernel stacks. */
const volatile u32 kernel_stacks = 1;
/* 1: ask for the cgroup (helper bpf_get_current_cgroup_id exists). */
const volatile u32 cgroup_ids = 1;
/* Unread bytes in a ring above which its reader is woken at once. */
const volatile u64 wake_bytes = 0;

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct counters);
} counters SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct scratch);
} scratch SEC(".maps");

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

/* What a user walk starts from. */
struct cursor {
	u64 pc, sp, fp, lr;
};

/*
 * The registers with which the task entered the kernel, from the top of its kernel stack.
 * Returns a USER_END_ value; COMPLETE means that `cursor` is filled.
 */
static ALWAYS_INLINE u8 entry_registers(const struct registers *now, struct cursor *cursor)
{
	if (!stack_pt_regs)
		return USER_END_NO_ENTRY_REGISTERS;

	u64 stack = 0;
	if (bpf_probe_read_kernel(&stack, sizeof(stack), (void *)(bpf_get_current_task() + task_struct_stack)))
		return USER_END_REGISTERS_UNREADABLE;

	u64 area = stack + stack_pt_regs;
	u64 kernel_sp = REGISTERS_SP(now);
	if (kernel_sp >= area && kernel_sp < area + sizeof(struct registers))
		return USER_END_ENTRY_UNFINISHED;

	struct registers entry;
	if (bpf_probe_read_kernel(&entry, sizeof(entry), (void *)area))
		return USER_END_REGISTERS_UNREADABLE;
	/* A kernel thread has no user registers; an I/O worker of a process has them with pc 0. */
	if (!REGISTERS_USER_MODE(&entry) || !REGISTERS_PC(&entry))
		return USER_END_KERNEL_THREAD;

	cursor->pc = REGISTERS_PC(&entry);
	cursor->sp = REGISTERS_SP(&entry);
	cursor->fp = REGISTERS_FP(&entry);
	cursor->lr = REGISTERS_LR(&entry);
	return USER_END_COMPLETE;
}

/*
 * Walks user frames by frame pointer: {caller's frame pointer, return address} at each. The
 * x86-64 psABI (3.4.1) and AAPCS64 mark the root by a frame pointer of zero. `first` is the
 * index of the first free frame. Returns the number of frames and, through `end`, a USER_END_.
 */
static ALWAYS_INLINE u32 walk_frame_pointers(struct scratch *record, u32 first, const struct cursor *cursor, u8 *end)
{
	u64 fp = cursor->fp;
	u64 below = cursor->sp;
	u64 pair[2];
	u32 count = 1;

	record->frames[first & 127] = cursor->pc;
	if (!fp) {
		*end = USER_END_NO_FRAME_POINTER;
		return count;
	}
	*end = USER_END_TOO_DEEP;
#pragma clang loop unroll(disable)
	for (u32 i = 1; i < MAX_USER_FRAMES; i++) {
		if (!fp) {
			*end = USER_END_COMPLETE;
			break;
		}
		if ((fp & 7) || fp < below) {
			*end = USER_END_BAD_FRAME_POINTER;
			break;
		}
		if (bpf_probe_read_user(pair, sizeof(pair), (void *)fp)) {
			*end = USER_END_STACK_UNREADABLE;
			break;
		}
		if (!pair[1]) {
			*end = pair[0] ? USER_END_BAD_FRAME_POINTER : USER_END_COMPLETE;
			break;
		}
		u32 slot = first + i;
		if (slot >= MAX_KERNEL_FRAMES + MAX_USER_FRAMES)
			break;
		record->frames[slot] = pair[1];
		count = i + 1;
		below = fp + sizeof(pair);
		fp = pair[0];
	}
	return count;
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

SEC("perf_event")
int sample(struct perf_event_context *context)
{
	u32 zero = 0;
	struct counters *count = bpf_map_lookup_elem(&counters, &zero);
	if (!count)
		return 0;
	count->runs++;

	u64 ids = bpf_get_current_pid_tgid();
	if (!ids) {
		count->idle++;
		return 0;
	}
	struct scratch *record = bpf_map_lookup_elem(&scratch, &zero);
	if (!record) {
		count->no_scratch++;
		return 0;
	}
	u32 cpu = bpf_get_smp_processor_id();
	void *ring = bpf_map_lookup_elem(&rings, &cpu);
	if (!ring) {
		count->no_ring++;
		return 0;
	}

	struct sample *head = &record->sample;
	head->time_ns = bpf_ktime_get_ns();
	head->cgroup_id = cgroup_ids ? bpf_get_current_cgroup_id() : 0;
	ids = own_ids(ids);
	head->pid = ids >> 32;
	head->tid = (u32)ids;
	head->cpu = cpu;
	bpf_get_current_comm(head->comm, sizeof(head->comm));

	struct registers now = {};
	REGISTERS_COPY(&now, &context->regs);
	struct cursor cursor = {};
	u8 end = USER_END_COMPLETE;
	u32 kernel_frames = 0;
	if (REGISTERS_USER_MODE(&now)) {
		head->kernel_end = KERNEL_END_NOT_IN_KERNEL;
		cursor.pc = REGISTERS_PC(&now);
		cursor.sp = REGISTERS_SP(&now);
		cursor.fp = REGISTERS_FP(&now);
		cursor.lr = REGISTERS_LR(&now);
	} else {
		kernel_frames = kernel_part(context, record);
		end = entry_registers(&now, &cursor);
	}

	u32 user_frames = 0;
	if (end == USER_END_COMPLETE) {
		if (no_user_reads)
			user_frames = walk_by_kernel(context, record, kernel_frames, &end);
		else
			user_frames = walk_frame_pointers(record, kernel_frames, &cursor, &end);
	}

	head->kernel_frames = kernel_frames;
	head->user_frames = user_frames;
	head->user_pc = cursor.pc;
	head->user_sp = cursor.sp;
	head->user_fp = cursor.fp;
	head->user_lr = cursor.lr;
	head->user_end = end;

	u64 bytes = sizeof(*head) + (kernel_frames + user_frames) * sizeof(u64);
	if (bytes > sizeof(*record))
		bytes = sizeof(*record);
	u64 wake = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_output(ring, record, bytes, wake))
		count->ring_full++;
	else
		count->sent++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
