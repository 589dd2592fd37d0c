// SPDX-License-Identifier: GPL-2.0-only
/* Spins for some hundred microseconds on every system call of one process. */
#include "../../../ebpf/bpf/kernel.h"

const volatile u32 target = 0;
u64 sink;

SEC("tracepoint/raw_syscalls/sys_enter")
int hammer(void *context)
{
	if (bpf_get_current_pid_tgid() >> 32 != target)
		return 0;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < 2000; i++)
		sink += bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
