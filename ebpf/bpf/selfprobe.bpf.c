// SPDX-License-Identifier: GPL-2.0-only
/*
 * The analysis program: copies kernel memory, so that user space can find out where things lie.
 *
 * It is run by BPF_PROG_TEST_RUN and never attached, hence it needs no tracepoint, no tracefs
 * and no BTF. It runs inside the caller's own system call: the current task is the caller, whose
 * entry registers lie at the top of its kernel stack.
 */
#include "kernel.h"
#include "layout.h"

#define FIELD(type, name, text) type name;
#define ARRAY(type, name, length, text) type name[length];

struct peek {
	PEEK_FIELDS(FIELD, ARRAY)
};

/* struct bpf_raw_tracepoint_args (include/uapi/linux/bpf.h), as the caller fills it. */
struct request {
	/* 1: `address` counts from the caller's task_struct. */
	u64 from_task;
	u64 address;
	/* 1 to PEEK_MAX_BYTES. */
	u64 bytes;
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct peek);
} peeks SEC(".maps");

SEC("raw_tracepoint/selfprobe")
int selfprobe(struct request *request)
{
	u32 zero = 0;
	struct peek *peek = bpf_map_lookup_elem(&peeks, &zero);
	u64 bytes = request->bytes;

	if (!peek || bytes == 0 || bytes > PEEK_MAX_BYTES)
		return 1;
	peek->address = request->address + (request->from_task ? bpf_get_current_task() : 0);
	peek->refused = -bpf_probe_read_kernel(peek->bytes, bytes, (void *)peek->address);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
