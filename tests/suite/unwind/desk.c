// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sampler's unwinder, compiled for user space: tables and stack are plain memory.
 */
#include "../../../ebpf/bpf/unwind.h"

/* desk.rs has the same structure. */
struct desk {
	u64 *processes, *mappings, *pages, *rows, *recent, *rules;
	u32 process_lines, mapping_count, page_lines, row_lines, recent_lines, rule_count;
	const u8 *stack;
	u64 stack_start, stack_bytes;
};

static _Thread_local const struct desk *desk;

static struct line *line_of(u64 *table, u32 lines, u32 line)
{
	return line < lines ? (struct line *)table + line : 0;
}

static struct line *process_line(u32 line)
{
	return line_of(desk->processes, desk->process_lines, line);
}

static struct line *page_line(u32 line)
{
	return line_of(desk->pages, desk->page_lines, line);
}

static struct line *row_line(u32 line)
{
	return line_of(desk->rows, desk->row_lines, line);
}

static struct mapping *mapping_at(u32 index)
{
	return index < desk->mapping_count ? (struct mapping *)desk->mappings + index : 0;
}

static struct line *recent_line(u32 hash)
{
	return desk->recent_lines ? line_of(desk->recent, desk->recent_lines, hash & (desk->recent_lines - 1)) : 0;
}

static u32 check_recent(void)
{
	return 1;
}

static u64 *rule_word(u32 index)
{
	return index < desk->rule_count ? desk->rules + index : 0;
}

static s64 read_user(void *to, u32 bytes, u64 from)
{
	u64 offset = from - desk->stack_start;

	if (offset > desk->stack_bytes || desk->stack_bytes - offset < bytes)
		return -14;
	__builtin_memcpy(to, desk->stack + offset, bytes);
	return 0;
}

static u32 process_mask(void)
{
	return desk->process_lines - 1;
}

static u32 page_mask(void)
{
	return desk->page_lines - 1;
}

/* As the sampler marks a thread's name. */
u32 desk_name_mark(const u64 *name)
{
	return name_mark(name);
}

/* Walks as the sampler does; `name`: the mark of the process's name, or 0. Returns how it ended; `frames` has room for MAX_USER_FRAMES. */
int desk_walk(const struct desk *memory, u32 pid, u32 name, struct walk *walk, u64 *frames)
{
	desk = memory;
	walk->window_start = ~0ULL - sizeof(walk->window);
	walk->count = 1;
	frames[0] = walk->pc;
	if (!find_process(walk, pid, name))
		return USER_END_NO_PROCESS;
	while (walk->count < MAX_USER_FRAMES) {
		u8 moved = leave_frame(walk);
		if (moved != MOVED)
			return moved;
		frames[walk->count++] = walk->pc;
	}
	return USER_END_TOO_DEEP;
}

u64 desk_walk_bytes(void)
{
	return sizeof(struct walk);
}
