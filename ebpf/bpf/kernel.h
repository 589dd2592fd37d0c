/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What we use of the kernel's BPF interface, and nothing else: no vmlinux.h, no libbpf headers.
 * Helper and map-type numbers are ABI (include/uapi/linux/bpf.h); offsets of kernel structures
 * are not, so they never appear here: they come in as load-time constants.
 */
#ifndef STACKSONDE_KERNEL_H
#define STACKSONDE_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define static_assert _Static_assert

/* BTF-defined maps: an integer attribute is the dimension of an array type. */
#define MAP_UINT(name, value) int (*name)[value]
#define MAP_TYPE(name, type) type *name
#define MAP_VALUES(name, value) value *name[]

enum {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_F_MMAPABLE = 1 << 10,
};

enum {
	BPF_F_USER_STACK = 1 << 8,
	BPF_RB_NO_WAKEUP = 1 << 0,
	BPF_RB_FORCE_WAKEUP = 1 << 1,
	BPF_RB_AVAIL_DATA = 0,
};

#define HELPER static __attribute__((unused))
HELPER void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
HELPER u64 (*bpf_ktime_get_ns)(void) = (void *)5;
HELPER u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
HELPER u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
HELPER s64 (*bpf_get_current_comm)(void *buffer, u32 size) = (void *)16;
HELPER u64 (*bpf_get_current_task)(void) = (void *)35;
HELPER s64 (*bpf_get_stack)(void *context, void *buffer, u32 size, u64 flags) = (void *)67;
HELPER u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
HELPER s64 (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
HELPER s64 (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
HELPER s64 (*bpf_get_ns_current_pid_tgid)(u64 device, u64 inode, void *ids, u32 size) = (void *)120;
HELPER s64 (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
HELPER u64 (*bpf_ringbuf_query)(void *ring, u64 flags) = (void *)134;

#endif
