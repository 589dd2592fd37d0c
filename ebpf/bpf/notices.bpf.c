// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exec and exit events, where perf's side band reports none. Raw tracepoints: by name, so neither
 * tracefs nor BTF is needed.
 */
#include "kernel.h"
#include "ids.h"
#include "layout.h"

#define FIELD(type, name, text) type name;
#define ARRAY(type, name, length, text) type name[length];

struct notice {
	NOTICE_FIELDS(FIELD, ARRAY)
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 1 << 17);
} notices SEC(".maps");

static ALWAYS_INLINE int send(u32 kind)
{
	struct notice notice = {};
	u64 ids = own_ids(bpf_get_current_pid_tgid());

	if (!ids)
		return 0;
	notice.time_ns = bpf_ktime_get_ns();
	notice.pid = ids >> 32;
	notice.tid = (u32)ids;
	notice.kind = kind;
	bpf_get_current_comm(notice.comm, sizeof(notice.comm));
	bpf_ringbuf_output(&notices, &notice, sizeof(notice), 0);
	return 0;
}

SEC("raw_tracepoint/sched_process_exec")
int on_exec(void *context)
{
	(void)context;
	return send(NOTICE_EXEC);
}

SEC("raw_tracepoint/sched_process_exit")
int on_exit(void *context)
{
	(void)context;
	return send(NOTICE_EXIT);
}

char LICENSE[] SEC("license") = "GPL";
