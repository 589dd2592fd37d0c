// SPDX-License-Identifier: GPL-2.0-only
/* The least that a profiler can do on a tick: who it was, both stacks by the kernel's own walk of frame
 * pointers, one record. */
#include "../../../ebpf/bpf/kernel.h"

#define FRAMES 127

struct record {
	u64 time_ns;
	u64 ids;
	u64 cgroup_id;
	s64 kernel_bytes;
	u8 comm[16];
	u64 frames[2 * FRAMES];
};

/* By CPU; a CPU's tick never interrupts itself. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct record);
} scratch SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 1 << 20);
} ring SEC(".maps");

SEC("perf_event")
int floor_tick(void *context)
{
	u64 ids = bpf_get_current_pid_tgid();
	u32 cpu = bpf_get_smp_processor_id();
	struct record *record = bpf_map_lookup_elem(&scratch, &cpu);
	if (!record || !ids)
		return 0;
	record->time_ns = bpf_ktime_get_ns();
	record->ids = ids;
	record->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(record->comm, sizeof(record->comm));

	s64 kernel = bpf_get_stack(context, record->frames, FRAMES * sizeof(u64), 0);
	if (kernel < 0)
		kernel = 0;
	if (kernel > FRAMES * sizeof(u64))
		kernel = FRAMES * sizeof(u64);
	record->kernel_bytes = kernel;
	s64 user = bpf_get_stack(context, (u8 *)record->frames + kernel, FRAMES * sizeof(u64), BPF_F_USER_STACK);
	if (user < 0)
		user = 0;
	u64 bytes = sizeof(*record) - sizeof(record->frames) + kernel + user;
	if (bytes > sizeof(*record))
		bytes = sizeof(*record);
	bpf_ringbuf_output(&ring, record, bytes, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
