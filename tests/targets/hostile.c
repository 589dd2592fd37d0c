/*
 * A program whose stack, mappings or program text are not what an unwinder would like (x86-64). Once it does
 * what it is told it takes that as its name, and goes on until it is killed.
 *
 *   hostile sp-unmapped      its stack pointer leads to where nothing is mapped
 *   hostile sp-kernel        into the kernel
 *   hostile sp-odd           to an address that no CPU accepts
 *   hostile sp-vvar          into the kernel's data page in every process
 *   hostile sp-device FILE   into memory of a device: the VGA window by FILE, a /dev/mem; where that is refused,
 *                            into a mapping of /dev/zero
 *   hostile fp-cycle         code made at run time, whose frame pointer points at itself
 *   hostile fp-down          the same, frame pointers that lead down the stack
 *   hostile deep             ten thousand frames
 *   hostile mappings N       N executable mappings, and executes the last one
 *   hostile remap            maps code, executes it, unmaps it, at the same address, again and again
 *   hostile exec             executes itself again and again, after some turns
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define PAGE 4096UL

static volatile unsigned long sink;

/* Never returns: spins with these stack and frame pointers. */
static void spin_with(unsigned long sp, unsigned long fp)
{
	__asm__ volatile("mov %0, %%rsp\n\tmov %1, %%rbp\n1:\tpause\n\tjmp 1b" : : "r"(sp), "r"(fp) : "memory");
	__builtin_unreachable();
}

/* `pause; jmp` back to it, in memory without a file: code as a compiler at run time makes it. */
static const unsigned char LOOP[] = {0xf3, 0x90, 0xeb, 0xfc};
/* A thousand turns, then a return. */
static const unsigned char TURNS[] = {0xb9, 0xe8, 0x03, 0, 0, 0xf3, 0x90, 0xff, 0xc9, 0x75, 0xfa, 0xc3};

static void *code_at(void *where, const unsigned char *code, size_t bytes)
{
	int fixed = where ? MAP_FIXED : 0;
	void *page = mmap(where, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);

	if (page == MAP_FAILED)
		exit(2);
	memcpy(page, code, bytes);
	return page;
}

/* Never returns: jumps to code with a frame pointer. */
static void jump_with(void *code, unsigned long fp)
{
	__asm__ volatile("mov %1, %%rbp\n\tjmp *%0" : : "r"(code), "r"(fp) : "memory");
	__builtin_unreachable();
}

static unsigned long vvar(void)
{
	char line[512];
	unsigned long start = 0;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && !start && fgets(line, sizeof(line), maps))
		if (strstr(line, "[vvar"))
			start = strtoul(line, 0, 16);
	if (maps)
		fclose(maps);
	return start;
}

static unsigned long device(const char *path)
{
	int file = open(path, O_RDONLY | O_SYNC);
	void *memory = MAP_FAILED;

	if (file >= 0)
		memory = mmap(0, 2 * PAGE, PROT_READ, MAP_SHARED, file, 0xa0000);
	if (memory == MAP_FAILED)
		memory = mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, open("/dev/zero", O_RDONLY), 0);
	return (unsigned long)memory;
}

static volatile int forever = 1;

NOINLINE static int deep(int levels)
{
	while (levels == 0 && forever)
		sink++;
	if (levels == 0)
		return 0;
	return deep(levels - 1) + (int)sink;
}

/* Every other page executable: neighbours differ, so that each is a mapping of its own. */
static void *many(unsigned long count)
{
	char *start = mmap(0, 2 * count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned long made = 0;

	if (start == MAP_FAILED)
		exit(2);
	for (; made < count; made++) {
		char *page = start + 2 * made * PAGE;
		if (made == count - 1)
			memcpy(page, LOOP, sizeof(LOOP));
		if (mprotect(page, PAGE, PROT_READ | PROT_EXEC))
			exit(3);
	}
	return start + 2 * (count - 1) * PAGE;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned long count = argc > 2 ? strtoul(argv[2], 0, 10) : 0;
	unsigned long words[8] = {0}, sp = 0;
	void *code;

	if (!strcmp(what, "exec")) {
		char turns[32];
		prctl(PR_SET_NAME, what);
		code = code_at(0, TURNS, sizeof(TURNS));
		for (int i = 0; i < 400; i++)
			((void (*)(void))code)();
		snprintf(turns, sizeof(turns), "%lu", count + 1);
		execl("/proc/self/exe", argv[0], what, turns, (char *)0);
		return 1;
	}
	if (!strcmp(what, "remap")) {
		code = code_at(0, TURNS, sizeof(TURNS));
		prctl(PR_SET_NAME, what);
		for (;;) {
			for (int i = 0; i < 20; i++)
				((void (*)(void))code)();
			munmap(code, PAGE);
			code_at(code, TURNS, sizeof(TURNS));
		}
	}
	if (!strcmp(what, "mappings")) {
		code = many(count);
		prctl(PR_SET_NAME, what);
		jump_with(code, 0);
	}
	if (!strcmp(what, "sp-device"))
		sp = device(argc > 2 ? argv[2] : "/dev/mem") + 64;
	if (!strcmp(what, "sp-vvar"))
		sp = vvar() + 64;
	prctl(PR_SET_NAME, what);
	if (!strcmp(what, "sp-unmapped"))
		sp = 0x10000;
	if (!strcmp(what, "sp-kernel"))
		sp = 0xffffffff81000000;
	if (!strcmp(what, "sp-odd"))
		sp = 0x8000000000000008;
	if (sp)
		spin_with(sp, sp);
	if (!strcmp(what, "fp-cycle")) {
		words[0] = (unsigned long)words;
		words[1] = (unsigned long)code_at(0, LOOP, sizeof(LOOP)) + 2;
		jump_with((void *)(words[1] - 2), (unsigned long)words);
	}
	if (!strcmp(what, "fp-down")) {
		words[4] = (unsigned long)words;
		words[5] = (unsigned long)code_at(0, LOOP, sizeof(LOOP)) + 2;
		words[0] = (unsigned long)&words[4];
		words[1] = words[5];
		jump_with((void *)(words[1] - 2), (unsigned long)&words[4]);
	}
	if (!strcmp(what, "deep"))
		return deep(10000);
	return 1;
}
