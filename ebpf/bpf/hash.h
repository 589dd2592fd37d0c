/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STACKSONDE_HASH_H
#define STACKSONDE_HASH_H

#include "kernel.h"
#include "layout.h"

/* A hash of two words. */
static ALWAYS_INLINE u32 pair_hash(u64 first, u64 second)
{
	u64 hash = first ^ second * TABLE_HASH_FACTOR;

	return (hash ^ hash >> 32) * TABLE_HASH_FACTOR >> 32;
}

#endif
