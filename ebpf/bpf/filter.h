/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose samples are not wanted: decided before anything else is done, by the table `filter` of layout.h.
 *
 * The same code runs in the sampler and, compiled for user space, in tests: it reaches the table and the
 * current task only through filter_line(), current_name() and current_cgroup(), which the includer defines.
 *
 * Lines of the table that a sample touches: one while nothing is excluded, else one more for each kind of
 * key that is in use: four at most, two for most filters.
 */
#ifndef STACKSONDE_FILTER_H
#define STACKSONDE_FILTER_H

#include "hash.h"
#include "kernel.h"
#include "layout.h"

struct filter_line {
	u64 words[LINE_WORDS];
};

/* Defined by the includer. */
static ALWAYS_INLINE struct filter_line *filter_line(u32 line);
static ALWAYS_INLINE u32 filter_mask(void);
static ALWAYS_INLINE void current_name(u64 name[2]);
static ALWAYS_INLINE u64 current_cgroup(void);

/* Tells whether a bucket has a slot with these words; of the first one only the bits of `mask`
 * count. */
static ALWAYS_INLINE u32 filter_holds(u32 hash, u64 first, u64 mask, u64 second)
{
	struct filter_line *line = filter_line(1 + (hash & filter_mask()));

	if (!line)
		return 0;
#pragma clang loop unroll(full)
	for (u32 slot = 0; slot < LINE_WORDS; slot += 2) {
		volatile u64 *words = &line->words[slot];
		/* Asked twice: the slot may change hands in between. */
		if (words[1] == second && !((words[0] ^ first) & mask) && words[1] == second)
			return 1;
	}
	return 0;
}

/* Tells whether samples of the current task are excluded. `ids`: {process, thread}, in the agent's
 * pid namespace. */
static ALWAYS_INLINE u32 is_excluded(u64 ids)
{
	struct filter_line *head = filter_line(0);
	u64 asks = head ? *(volatile u64 *)&head->words[0] : 0;
	u64 pid = ids >> 32;
	u64 cgroup = 0;
	u64 first = pid;
	u64 mask = 0xffffffff;

	if (!asks)
		return 0;
	if (asks & FILTER_ASKS_CGROUP) {
		u64 kind = (u64)FILTER_CGROUP << FILTER_KIND_SHIFT;
		cgroup = current_cgroup();
		if (asks & FILTER_HAS_CGROUPS && filter_holds(pair_hash(cgroup, kind), cgroup, ~0ULL, kind))
			return 1;
	}
	/* A process is called what its main thread is called; of other threads that name is not at hand. */
	if (asks & FILTER_ASKS_NAME && pid == (u32)ids) {
		u64 name[2] = {};
		current_name(name);
		u64 second = name[1] | (u64)FILTER_NAME << FILTER_KIND_SHIFT;
		if (asks & FILTER_HAS_NAMES && filter_holds(pair_hash(name[0], second), name[0], ~0ULL, second))
			return 1;
		first |= (u64)pair_hash(name[0], name[1]) << 32;
		mask = ~0ULL;
	}
	if (!(asks & FILTER_HAS_PROCESSES))
		return 0;
	u64 kind = (u64)FILTER_PROCESS << FILTER_KIND_SHIFT;
	u64 low = cgroup & ((1ULL << FILTER_KIND_SHIFT) - 1);
	return filter_holds(pair_hash(pid, kind), first, mask, kind | low);
}

#endif
