/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unwinding of user stacks by the tables of layout.h, a frame at a time.
 *
 * The same code runs in the sampler and, compiled for user space, in tests: it reaches tables and user
 * memory only through table_line(), table_word() and read_user(), which the includer defines.
 */
#ifndef STACKSONDE_UNWIND_H
#define STACKSONDE_UNWIND_H

#include "hash.h"
#include "kernel.h"
#include "layout.h"

#define USER_END(name, lower, number, text) USER_END_##name = number,
#define RULE_KIND(name, lower, number, text) RULE_##name = number,
#define MAPPING_KIND(name, lower, number, text) MAPPING_##name = number,
enum { USER_ENDS(USER_END) };
enum { RULE_KINDS(RULE_KIND) };
enum { MAPPING_KINDS(MAPPING_KIND) };

struct line {
	u64 words[LINE_WORDS];
};
struct mapping {
	u64 start, end, bias, what;
};
static_assert(sizeof(struct mapping) == MAPPING_LENGTH * sizeof(u64), "words of a mapping");

/* Times that a walk comes to a stack that lies lower: coroutines call coroutines, and damaged stacks lead around. */
#define LOWERED_MAX 8

/* User memory is read this much at a time: one read of a KiB costs what one of a few words does. */
#define WINDOW_WORDS 128

/* A walk under way. */
struct walk {
	/* Registers of the frame that is next. */
	u64 pc, sp, fp, bx, lr;
	/* The second word of the process's slot. */
	u64 region;
	/* Stands for the process with the mappings that it has now. */
	u32 epoch;
	/* Rules found in `recent`, by all of the tables, and by these as another one. */
	u32 recalled, looked_up, mistaken;
	/* Frames that lie below the one that they called, on another stack. */
	u32 lowered;
	/* 1: rows are wanting for the innermost frame, which was left by its frame pointer. */
	u32 leaf_wanting;
	/* 1: the innermost function was made at run time: whether it has a frame by now only its code says. */
	u32 leaf_made;
	/* Address of window[0]; only words of it that were read are valid. */
	u64 window_start;
	/* User addresses found so far. */
	u32 count;
	/* 1: pc is where execution stood; 0: it is a return address. */
	u8 exact;
	u64 leaf[LEAF_REGISTERS];
	u64 window[WINDOW_WORDS];
};

/* A frame was left: the walk goes on. Anything else is a USER_END_. */
#define MOVED 0xff

/* Defined by the includer. */
static ALWAYS_INLINE struct line *process_line(u32 line);
static ALWAYS_INLINE struct line *page_line(u32 line);
static ALWAYS_INLINE struct line *row_line(u32 line);
static ALWAYS_INLINE struct mapping *mapping_at(u32 index);
static ALWAYS_INLINE u64 *rule_word(u32 index);
static ALWAYS_INLINE s64 read_user(void *to, u32 bytes, u64 from);
static ALWAYS_INLINE u32 process_mask(void);
static ALWAYS_INLINE u32 page_mask(void);
/* 0 where there is no such table. */
static ALWAYS_INLINE struct line *recent_line(u32 hash);
/* Tells whether cached rules are looked up, too. */
static ALWAYS_INLINE u32 check_recent(void);

/* Returns the mark of a name, {its first 8 bytes, the others}; never 0. */
static ALWAYS_INLINE u32 name_mark(const u64 name[2])
{
	return pair_hash(name[0], name[1]) >> (32 - REGION_NAME_BITS) | 1;
}

/* Begins a walk among the mappings of a process; 0 if it is not in the tables. `name`: the mark of its main
 * thread's name, or 0 where that is not at hand. */
static ALWAYS_INLINE u64 find_process(struct walk *walk, u32 pid, u32 name)
{
	u64 hash = pid * TABLE_HASH_FACTOR;

	walk->epoch = 0;
	walk->region = 0;
#pragma clang loop unroll(disable)
	for (u32 probe = 0; probe < PROCESS_PROBES; probe++) {
		struct line *line = process_line(((u32)(hash >> 32) + probe) & process_mask());
		if (!line)
			return 0;
#pragma clang loop unroll(full)
		for (u32 slot = 0; slot < LINE_WORDS; slot += 2)
			if ((u32)line->words[slot] == pid) {
				u64 key = *(volatile u64 *)&line->words[slot];
				u64 region = *(volatile u64 *)&line->words[slot + 1];
				u32 known = region >> REGION_NAME_SHIFT & ((1 << REGION_NAME_BITS) - 1);
				/* The slot may have changed hands in between. */
				if (*(volatile u64 *)&line->words[slot] != key || (u32)key != pid)
					return 0;
				if (known && name && known != name)
					return 0;
				walk->epoch = key >> 32;
				walk->region = region;
				return region;
			}
	}
	return 0;
}

/* The mapping that covers an address, by bisection. */
static ALWAYS_INLINE struct mapping *find_mapping(u64 region, u64 address)
{
	u32 first = region & ((1 << REGION_COUNT_SHIFT) - 1);
	u32 count = region >> REGION_COUNT_SHIFT & ((1 << (REGION_NAME_SHIFT - REGION_COUNT_SHIFT)) - 1);

#pragma clang loop unroll(disable)
	for (u32 step = 0; step < REGION_NAME_SHIFT - REGION_COUNT_SHIFT && count > 1; step++) {
		u32 half = count / 2;
		struct mapping *middle = mapping_at(first + half);
		if (!middle)
			return 0;
		if (middle->start <= address) {
			first += half;
			count -= half;
		} else {
			count = half;
		}
	}
	struct mapping *found = count ? mapping_at(first) : 0;
	if (found && address >= found->start && address < found->end)
		return found;
	return 0;
}

/* The line of a page's header; 0 if it has no rows in the tables. (Line 0 is never used.) */
static ALWAYS_INLINE u32 find_page(u32 executable, u32 page)
{
	u64 key = (u64)page << 32 | executable;
	u64 hash = (key ^ key >> 29) * TABLE_HASH_FACTOR;
	u32 tag = (u32)hash | 1;

#pragma clang loop unroll(disable)
	for (u32 probe = 0; probe < PAGE_PROBES; probe++) {
		struct line *line = page_line(((u32)(hash >> 32) + probe) & page_mask());
		if (!line)
			return 0;
#pragma clang loop unroll(disable)
		for (u32 slot = 0; slot < LINE_WORDS; slot++) {
			u64 word = line->words[slot & (LINE_WORDS - 1)];
			if ((u32)word != tag)
				continue;
			struct line *header = row_line(word >> 32);
			if (header && header->words[0] == key)
				return word >> 32;
		}
	}
	return 0;
}

/* The number of the rule for an address in a page; negative: a USER_END_, negated. */
static ALWAYS_INLINE s32 find_rule(u32 header_line, u32 in_page)
{
	struct line *header = row_line(header_line);
	u32 bucket = (in_page >> BUCKET_SHIFT) & (BUCKETS - 1);
	u32 low = in_page & ((1 << BUCKET_SHIFT) - 1);

	if (!header)
		return -USER_END_UNSUPPORTED_RULE;
	u32 first = (header->words[(1 + bucket / 4) & 7] >> bucket % 4 * 16) & 0xffff;
	u32 next = bucket + 1;
	u32 count = ((header->words[(1 + next / 4) & 7] >> next % 4 * 16) & 0xffff) - first;
	u32 row = 0;

#pragma clang loop unroll(disable)
	for (u32 step = 0; step <= BUCKET_SHIFT && count; step++) {
		u32 half = count / 2;
		u32 middle = first + half;
		struct line *line = row_line(header_line + 1 + middle / (2 * LINE_WORDS));
		if (!line)
			return -USER_END_UNSUPPORTED_RULE;
		u32 here = line->words[middle / 2 % LINE_WORDS] >> middle % 2 * 32;
		if ((here & 0xff) <= low)
			row = here;
		if (count == 1)
			break;
		if ((here & 0xff) <= low) {
			first += half;
			count -= half;
		} else {
			count = half;
		}
	}
	return row >> 16;
}

/* The number of the rule for an address by mapping, page and row; negative: a USER_END_, negated. */
static ALWAYS_INLINE s32 look_up(struct walk *walk, u64 address)
{
	struct mapping *mapping = find_mapping(walk->region, address);
	if (!mapping)
		return -USER_END_NO_MAPPING;

	u64 what = mapping->what;
	u32 kind = what >> 32;
	/* Go's runtime begins stacks with a frame pointer of zero: whether this is the place, rows say. */
	u32 by_pointers = kind == MAPPING_GO && walk->count > 1;
#if defined(STACKSONDE_X86_64)
	walk->leaf_made |= kind == MAPPING_FRAME_POINTERS && walk->count == 1;
#endif
	if (kind != MAPPING_ROWS && (kind != MAPPING_GO || (by_pointers && walk->fp)))
		return kind != MAPPING_FRAME_POINTERS;
	u64 in_file = address + mapping->bias;
	u32 header = find_page((u32)what, in_file >> PAGE_SHIFT);
	if (header)
		return find_rule(header, in_file & ((1 << PAGE_SHIFT) - 1));
	/* In Go code that moves to another stack a copy of this one would not do: the caller is
	 * found now. */
	walk->leaf_wanting = kind == MAPPING_GO && !by_pointers;
	return walk->leaf_wanting ? 1 : -USER_END_NO_ROWS;
}

/* Returns the place in `recent` at which an address of this process may stand: the bucket is chosen
 * by the low bits, the rest is the tag, which is never 0. */
static ALWAYS_INLINE u64 place_of(u64 address, u32 epoch)
{
	u64 hash = (address ^ (u64)epoch << 32) * TABLE_HASH_FACTOR;

	return (hash ^ hash >> 32) * TABLE_HASH_FACTOR | 1 << 16;
}

/* The number of the rule that was found there before; negative: none is known. */
static ALWAYS_INLINE s32 recall(const struct line *bucket, u64 place)
{
#pragma clang loop unroll(full)
	for (u32 slot = 0; slot < LINE_WORDS; slot++) {
		u64 word = *(const volatile u64 *)&bucket->words[slot];
		if (!((word ^ place) >> 16))
			return word & 0xffff;
	}
	return -1;
}

/* The one that stood there longest makes room. Other CPUs may do the same: each slot is whole at any time. */
static ALWAYS_INLINE void remember(struct line *bucket, u64 place, u16 number)
{
#pragma clang loop unroll(full)
	for (u32 slot = LINE_WORDS - 1; slot > 0; slot--)
		*(volatile u64 *)&bucket->words[slot] = *(volatile u64 *)&bucket->words[slot - 1];
	*(volatile u64 *)&bucket->words[0] = (place & ~0xffffULL) | number;
}

/* The number of the rule for an address; negative: a USER_END_, negated. */
static ALWAYS_INLINE s32 rule_at(struct walk *walk, u64 address)
{
	u64 place = place_of(address, walk->epoch);
	struct line *bucket = recent_line(place);
	s32 recalled = bucket ? recall(bucket, place) : -1;

	if (recalled >= 0) {
		walk->recalled++;
		if (!check_recent())
			return recalled;
	}
	s32 number = look_up(walk, address);
	if (recalled >= 0) {
		walk->mistaken += number >= 0 && number != recalled;
		return recalled;
	}
	walk->looked_up++;
	if (number >= 0 && bucket && !walk->leaf_wanting && !(walk->leaf_made && walk->count == 1))
		remember(bucket, place, number);
	return number;
}

/* A word of the stack, from the window if it is there. */
static ALWAYS_INLINE s64 load(struct walk *walk, u64 address, u64 *value)
{
	u64 offset = address - walk->window_start;
	u64 word = offset >> 3;

	if (word < WINDOW_WORDS && !(offset & 7)) {
		/* The verifier must see the bound on the register that is used. */
		asm volatile("" : "+r"(word));
		*value = walk->window[word & (WINDOW_WORDS - 1)];
		return 0;
	}
	return read_user(value, sizeof(*value), address);
}

/* Moves the window so that it begins at `address`, unless it covers `words` words from there. */
static ALWAYS_INLINE void look_at(struct walk *walk, u64 address, u32 words)
{
	u64 offset = address - walk->window_start;

	if (offset <= (WINDOW_WORDS - words) * sizeof(u64))
		return;
	walk->window_start = address;
	/* All or nothing: near the end of a mapping single words are read instead. */
	if (read_user(walk->window, sizeof(walk->window), address))
		walk->window_start = ~0ULL - WINDOW_WORDS * sizeof(u64);
}

/* A signed field of a rule, of `bits` bits at `shift`. */
#define RULE_FIELD(rule, shift, bits) ((s64)((rule) << (64 - (bits) - (shift))) >> (64 - (bits)))

#if defined(STACKSONDE_X86_64)
/* struct rt_sigframe after its return address: struct ucontext, whose uc_mcontext begins at 40
 * (arch/x86/include/uapi/asm/sigcontext.h, struct sigcontext_64). */
#define SIGNAL_FP 120
#define SIGNAL_BX 128
#define SIGNAL_SP 160
#define SIGNAL_PC 168
#define RETURN_ADDRESS(word) (word)
#else
/* struct rt_sigframe: siginfo (128), ucontext, whose uc_mcontext begins at 176; there fault_address and
 * regs[31], sp, pc (arch/arm64/include/uapi/asm/{ucontext,sigcontext}.h). */
#define SIGNAL_FP (312 + 29 * 8)
#define SIGNAL_LR (312 + 30 * 8)
#define SIGNAL_SP (312 + 31 * 8)
#define SIGNAL_PC (312 + 32 * 8)
/* Pointer authentication signs the bits above the 48 of an address
 * (Documentation/arch/arm64/pointer-authentication.rst). */
#define RETURN_ADDRESS(word) ((word) & ((1ULL << 48) - 1))
#endif

/* The registers that a signal interrupted. */
static ALWAYS_INLINE u8 leave_signal(struct walk *walk)
{
	u64 context = walk->sp, pc, sp, fp, bx = 0, lr = 0;

	if (read_user(&pc, sizeof(pc), context + SIGNAL_PC) || read_user(&sp, sizeof(sp), context + SIGNAL_SP) ||
	    read_user(&fp, sizeof(fp), context + SIGNAL_FP))
		return USER_END_STACK_UNREADABLE;
#if defined(STACKSONDE_X86_64)
	if (read_user(&bx, sizeof(bx), context + SIGNAL_BX))
		return USER_END_STACK_UNREADABLE;
#else
	if (read_user(&lr, sizeof(lr), context + SIGNAL_LR))
		return USER_END_STACK_UNREADABLE;
#endif
	walk->pc = pc;
	walk->sp = sp;
	walk->fp = fp;
	walk->bx = bx;
	walk->lr = lr;
	walk->exact = 1;
	return MOVED;
}

/* Code without unwind information: {caller's frame pointer, return address} lie at the frame pointer
 * (x86-64 psABI 3.2.2; AAPCS64 6.4.6). A zero marks the root by these papers (psABI 3.4.1), and is any number in
 * code that uses the register as another one: so it tells nothing. */
static ALWAYS_INLINE u8 follow_frame_pointer(struct walk *walk, u64 rule)
{
	u64 fp = walk->fp, caller, pc;

	if (!fp)
		return USER_END_NO_FRAME_POINTER;
	if ((fp & 7) || (fp < walk->sp && rule == RULE_NONE))
		return USER_END_BAD_FRAME_POINTER;
	look_at(walk, fp, 2);
	if (load(walk, fp, &caller) || load(walk, fp + 8, &pc))
		return USER_END_STACK_UNREADABLE;
	walk->sp = fp + 16;
	walk->fp = caller;
	walk->pc = RETURN_ADDRESS(pc);
	walk->lr = 0;
	walk->exact = 0;
	return MOVED;
}

/* Registers of the caller by a rule. */
static ALWAYS_INLINE u8 follow_rule(struct walk *walk, u64 rule)
{
	u8 kind = rule;
	s64 cfa_at = RULE_FIELD(rule, 8, 24) * 8;
	s64 fp_at = RULE_FIELD(rule, 32, 16);
	s64 other_at = RULE_FIELD(rule, 48, 16);
	u64 cfa, pc, fp = walk->fp, bx = walk->bx;

	if (kind == RULE_SP) {
		cfa = walk->sp + cfa_at;
	} else if (kind == RULE_FP) {
		cfa = walk->fp + cfa_at;
	} else if (kind == RULE_BX) {
		cfa = walk->bx + cfa_at;
	} else if (kind == RULE_PLT) {
		cfa = walk->sp + 8 + ((s64)(walk->pc & 15) * 8 >= cfa_at ? 8 : 0);
	} else if (kind == RULE_DEREF_SP || kind == RULE_DEREF_FP) {
		if (load(walk, (kind == RULE_DEREF_SP ? walk->sp : walk->fp) + cfa_at, &cfa))
			return USER_END_STACK_UNREADABLE;
		cfa += other_at * 8;
		other_at = SAVED_NOT;
	} else if (kind >= RULE_RETURN_IN && walk->count == 1) {
		cfa = walk->sp + cfa_at;
	} else if (kind >= RULE_REGISTER && kind < RULE_RETURN_IN && walk->count == 1) {
		cfa = walk->leaf[kind & (LEAF_REGISTERS - 1)] + cfa_at;
	} else {
		return USER_END_UNSUPPORTED_RULE;
	}
#if defined(STACKSONDE_X86_64)
	/* Only another register, or a word that was stored, leads to another stack, which may lie anywhere; a few times. */
	u32 is_lower = cfa <= walk->sp && kind < RULE_RETURN_IN;
	walk->lowered += is_lower;
	if ((is_lower && (kind == RULE_SP || kind == RULE_PLT || walk->lowered > LOWERED_MAX)) || (cfa & 7))
		return USER_END_BAD_FRAME;
	look_at(walk, cfa - 64, 8);
	if (kind >= RULE_RETURN_IN)
		pc = walk->leaf[kind & (LEAF_REGISTERS - 1)];
	else if (load(walk, cfa - 8, &pc))
		return USER_END_STACK_UNREADABLE;
	if (other_at != SAVED_NOT && load(walk, cfa + other_at * 8, &bx))
		return USER_END_STACK_UNREADABLE;
#else
	/* A leaf may have no frame at all: then its return address is in the link register. */
	if (cfa < walk->sp || (cfa & 15) || (cfa == walk->sp && !walk->exact))
		return USER_END_BAD_FRAME;
	pc = walk->lr;
	if (other_at != SAVED_NOT && load(walk, cfa + other_at * 8, &pc))
		return USER_END_STACK_UNREADABLE;
	if (other_at == SAVED_NOT && !walk->exact)
		return USER_END_BAD_FRAME;
	pc = RETURN_ADDRESS(pc);
#endif
	u64 saved = fp_at >= SAVED_AT_FP_LEAST ? walk->fp + (SAVED_AT_FP - fp_at) * 8 : cfa + fp_at * 8;
	if (fp_at != SAVED_NOT && load(walk, saved, &fp))
		return USER_END_STACK_UNREADABLE;
	walk->pc = pc;
	walk->sp = cfa;
	walk->fp = fp;
	walk->bx = bx;
	walk->lr = 0;
	walk->exact = 0;
	return MOVED;
}

/* Leaves one frame: `walk` then has the registers of its caller. MOVED, or how the walk ended. */
static ALWAYS_INLINE u8 leave_frame(struct walk *walk)
{
	s32 number = rule_at(walk, walk->exact ? walk->pc : walk->pc - 1);
	if (number < 0)
		return -number;
	u64 *word = rule_word(number);
	u64 rule = word ? *word : RULE_UNSUPPORTED;
	u8 kind = rule;
	/* A return address that was made by hand is not a frame. */
	if (kind == RULE_ENTRY && walk->count > 1 && !walk->exact)
		walk->count--;
	u8 moved = kind == RULE_END || kind == RULE_ENTRY ? USER_END_COMPLETE :
		   kind == RULE_SIGNAL ? leave_signal(walk) :
		   kind == RULE_NONE   ? follow_frame_pointer(walk, rule) :
					 follow_rule(walk, rule);
	if (moved == MOVED && !walk->pc)
		return walk->fp || kind == RULE_NONE ? USER_END_NO_CODE : USER_END_COMPLETE;
	return moved;
}

#endif
