// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sampler's filter, compiled for user space: the table and the current task are plain memory.
 */
#include "../../../ebpf/bpf/filter.h"

/* desk.rs has the same structure. */
struct filter_desk {
	u64 *table;
	u64 lines;
	u64 name[2];
	u64 cgroup;
	/* Lines that were touched, names and cgroups that were asked for. */
	u64 touched, names, cgroups;
};

static _Thread_local struct filter_desk *desk;

static struct filter_line *filter_line(u32 line)
{
	desk->touched++;
	return line < desk->lines ? (struct filter_line *)desk->table + line : 0;
}

static u32 filter_mask(void)
{
	return desk->lines - 2;
}

static void current_name(u64 name[2])
{
	desk->names++;
	name[0] = desk->name[0];
	name[1] = desk->name[1];
}

static u64 current_cgroup(void)
{
	desk->cgroups++;
	return desk->cgroup;
}

int filter_desk_is_excluded(struct filter_desk *task, u32 pid, u32 tid)
{
	desk = task;
	return is_excluded((u64)pid << 32 | tid);
}
