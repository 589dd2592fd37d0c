// SPDX-License-Identifier: GPL-2.0-only
/*
 * The analysis program: copies kernel memory, so that user space can find out where things lie.
 *
 * It runs inside the caller's own system call: the current task is the caller, whose entry
 * registers lie at the top of its kernel stack. There are three ways to get there, of which one is
 * loaded: BPF_PROG_TEST_RUN, which attaches nothing and so needs no tracepoint, no tracefs and no
 * BTF; the tracepoint syscalls:sys_enter_bpf; and the raw tracepoint sys_enter.
 *
 * The tracepoints see the system calls of everyone. Ours is told by a random number in its first
 * argument, not by a process id, which means different things in different namespaces.
 */
#include "kernel.h"
#include "layout.h"
#include "registers.h"

#define FIELD(type, name, text) type name;
#define ARRAY(type, name, length, text) type name[length];

struct peek {
	PEEK_FIELDS(FIELD, ARRAY)
};
struct request {
	REQUEST_FIELDS(FIELD, ARRAY)
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct peek);
} peeks SEC(".maps");

/* The request for a tracepoint's program. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct request);
} requests SEC(".maps");

static ALWAYS_INLINE int look(const struct request *request)
{
	u32 zero = 0;
	struct peek *peek = bpf_map_lookup_elem(&peeks, &zero);
	u64 bytes = request->bytes;

	if (!peek || bytes == 0 || bytes > PEEK_MAX_BYTES)
		return 1;
	u64 task = bpf_get_current_task();
	u64 address = request->address + (request->from_task ? task : 0);
	s64 refused = 0;
	if (request->follow) {
		u64 pointer = 0;
		refused = bpf_probe_read_kernel(&pointer, sizeof(pointer), (void *)address);
		address = pointer + request->after;
	}
	if (!refused)
		refused = bpf_probe_read_kernel(peek->bytes, bytes, (void *)address);
	peek->address = address;
	peek->task = task;
	peek->refused = -refused;
	peek->cookie = request->cookie;
	return 0;
}

/* The context is the request itself: what the caller of BPF_PROG_TEST_RUN gives. */
SEC("raw_tracepoint/selfprobe")
int selfprobe(struct request *request)
{
	return look(request);
}

static ALWAYS_INLINE int answer(u64 first_argument)
{
	u32 zero = 0;
	struct request *request = bpf_map_lookup_elem(&requests, &zero);

	if (!request || !request->cookie || request->cookie != first_argument)
		return 0;
	look(request);
	return 0;
}

/* struct syscall_tp_t (kernel/trace/trace_syscalls.c): 8 bytes of common fields, the number of the
 * call in 8 more, then the arguments. */
struct syscall_enter {
	u64 common, number, arguments[6];
};

SEC("tracepoint/syscalls/sys_enter_bpf")
int on_bpf(struct syscall_enter *call)
{
	return answer(call->arguments[0]);
}

/* TP_PROTO(struct pt_regs *regs, long id) (include/trace/events/syscalls.h). */
struct sys_enter {
	u64 registers, number;
};

SEC("raw_tracepoint/sys_enter")
int on_sys_enter(struct sys_enter *call)
{
	u64 first_argument = 0;

	if (call->number != SYS_BPF)
		return 0;
	if (bpf_probe_read_kernel(&first_argument, sizeof(first_argument),
				  (void *)(call->registers + REGISTERS_FIRST_ARGUMENT)))
		return 0;
	return answer(first_argument);
}

char LICENSE[] SEC("license") = "GPL";
