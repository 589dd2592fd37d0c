/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The current task's ids as the agent's own pid namespace has them, which is what /proc shows it.
 * The kernel's helpers speak of the initial namespace. Set by the host before loading.
 */
#ifndef STACKSONDE_IDS_H
#define STACKSONDE_IDS_H

#include "kernel.h"

enum {
	IDS_INITIAL = 0, /* the agent is in the initial namespace */
	IDS_FACTS = 1,   /* by the offsets below */
	IDS_HELPER = 2,  /* by bpf_get_ns_current_pid_tgid: only tasks directly in the agent's namespace */
	IDS_HIDDEN = 3,  /* by no way: no id is better than a wrong one */
};
const volatile u32 ids_by = IDS_INITIAL;
const volatile u32 task_struct_group_leader = 0;
const volatile u32 task_struct_thread_pid = 0;
const volatile u32 pid_level = 0;
const volatile u32 pid_numbers = 0;
const volatile u32 upid_nr = 0;
/* The agent's namespace: how deep it lies, and where the kernel keeps it. */
const volatile u32 namespace_level = 0;
const volatile u64 namespace_address = 0;
/* The same namespace as its file in /proc names it. */
const volatile u64 namespace_device = 0;
const volatile u64 namespace_inode = 0;

/* The id of a task; 0 if it lies in none of the agent's namespaces. */
static ALWAYS_INLINE u64 id_of(u64 task)
{
	u64 pid = 0;
	u32 level = 0;
	u64 upid[2] = {};

	if (bpf_probe_read_kernel(&pid, sizeof(pid), (void *)(task + task_struct_thread_pid)) || !pid)
		return 0;
	if (bpf_probe_read_kernel(&level, sizeof(level), (void *)(pid + pid_level)) || level < namespace_level)
		return 0;
	if (bpf_probe_read_kernel(upid, sizeof(upid), (void *)(pid + pid_numbers + namespace_level * sizeof(upid))))
		return 0;
	/* struct upid: an id and a pointer, in this order or the other. */
	if (upid_nr < sizeof(u64))
		return upid[1] == namespace_address ? (u32)upid[0] : 0;
	return upid[0] == namespace_address ? (u32)upid[1] : 0;
}

/* {process, thread} like bpf_get_current_pid_tgid, whose result is `ids`; 0 if the task is not ours to see. */
static ALWAYS_INLINE u64 own_ids(u64 ids)
{
	if (ids_by == IDS_INITIAL)
		return ids;
	if (ids_by == IDS_HELPER) {
		/* struct bpf_pidns_info: thread, process. */
		u32 seen[2] = {};
		if (bpf_get_ns_current_pid_tgid(namespace_device, namespace_inode, seen, sizeof(seen)))
			return 0;
		return (u64)seen[1] << 32 | seen[0];
	}
	if (ids_by == IDS_FACTS) {
		u64 task = bpf_get_current_task();
		u64 leader = 0;
		if (bpf_probe_read_kernel(&leader, sizeof(leader), (void *)(task + task_struct_group_leader)))
			return 0;
		u64 thread = id_of(task);
		u64 process = id_of(leader);
		return thread && process ? process << 32 | thread : 0;
	}
	return 0;
}

#endif
