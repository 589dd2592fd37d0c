/*
 * A program without frame pointers (-O2 -fomit-frame-pointer) that spends its time in a known place.
 *
 *   no_frame_pointers chain     _start;...;main;outer;middle;inner
 *   no_frame_pointers deep      _start;...;main;outer;deep (x 200);inner
 *   no_frame_pointers signal    _start;...;main;outer;interrupted;__restore_rt;handler;inner
 *                               (libc raises the signal in between: frames of raise and kill)
 *   no_frame_pointers vdso      _start;...;main;outer;clock (and below it the vDSO, called again and again)
 *   no_frame_pointers wide      _start;...;main;outer;wide (a frame of 1 MiB);inner
 *   no_frame_pointers aligned   _start;...;main;outer;aligned (a frame aligned to 64 bytes);inner
 *   no_frame_pointers leaf      _start;...;main;outer;leaf (before its first push and after its last pop; x86-64)
 *   no_frame_pointers thread    clone3;start_thread;thread;outer;middle;inner
 *   no_frame_pointers brief     a hundred children, one after the other, each 50 ms in main;outer;inner
 *
 * Frames between _start and main are libc's. Runs until it is killed; brief ends by itself, and prints in two lines
 * the CPU time of its children and its own in seconds, and how often they were taken off the CPU.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile unsigned long sink;
static volatile int forever = 1;

NOINLINE static void inner(unsigned long turns)
{
	for (unsigned long i = 0; i < turns; i++)
		sink += i * i;
}

NOINLINE static int middle(unsigned long turns)
{
	char local[48];
	memset(local, (int)turns, sizeof(local));
	inner(turns);
	return local[turns % sizeof(local)];
}

NOINLINE static int deep(int levels, unsigned long turns)
{
	char local[40];
	memset(local, levels, sizeof(local));
	if (levels > 1)
		deep(levels - 1, turns);
	else
		inner(turns);
	return local[levels % sizeof(local)];
}

NOINLINE static int wide(unsigned long turns)
{
	volatile char local[1 << 20];
	local[turns % sizeof(local)] = 1;
	inner(turns);
	return local[0];
}

NOINLINE static int aligned(unsigned long turns)
{
	__attribute__((aligned(64))) char local[256];
	memset(local, (int)turns, sizeof(local));
	/* A size that the compiler does not know takes the stack pointer away as a base. */
	volatile char *more = __builtin_alloca(turns % 100 + 1);
	more[0] = 1;
	inner(turns);
	return local[turns % sizeof(local)] + more[0];
}

static void handler(int number)
{
	inner(20000000 + number);
	sink++;
}

NOINLINE static int interrupted(void)
{
	raise(SIGUSR1);
	return (int)sink;
}

NOINLINE static int clock_often(void)
{
	struct timespec now;
	for (int i = 0; i < 1000; i++)
		clock_gettime(CLOCK_MONOTONIC, &now);
	return (int)now.tv_nsec;
}

#if defined(__x86_64__)
/* A leaf that spends its time where its frame is not made yet, or is gone already. */
int leaf(unsigned long turns);
__asm__(".text\n.type leaf,@function\nleaf:\n.cfi_startproc\n"
	"mov %rdi, %rcx\n1: dec %rcx\njnz 1b\n"
	"push %rbx\n.cfi_def_cfa_offset 16\n.cfi_offset %rbx, -16\n"
	"sub $64, %rsp\n.cfi_def_cfa_offset 80\n"
	"mov %rdi, (%rsp)\nmov (%rsp), %rbx\nmov %rbx, %rcx\n"
	"add $64, %rsp\n.cfi_def_cfa_offset 16\n"
	"pop %rbx\n.cfi_def_cfa_offset 8\n.cfi_restore %rbx\n"
	"2: dec %rcx\njnz 2b\nmov $1, %eax\nret\n.cfi_endproc\n.size leaf, .-leaf\n");
#else
#define leaf middle
#endif

NOINLINE static int outer(const char *what)
{
	int result = 0;
	unsigned long turns = 20000000;
	switch (what[0]) {
	case 'c':
	case 't':
		result = middle(turns);
		break;
	case 'l':
		result = leaf(turns);
		break;
	case 'd':
		result = deep(200, turns);
		break;
	case 's':
		result = interrupted();
		break;
	case 'v':
		result = clock_often();
		break;
	case 'w':
		result = wide(turns);
		break;
	case 'a':
		result = aligned(turns);
		break;
	}
	sink += result;
	return result + 1;
}

static void *thread(void *what)
{
	while (forever)
		sink += outer(what);
	return what;
}

/* 50 ms of CPU time in a process of its own. */
NOINLINE static void brief(void)
{
	pid_t child = fork();
	if (child == 0) {
		while (clock() < CLOCKS_PER_SEC / 20)
			inner(100000);
		_exit(0);
	}
	waitpid(child, 0, 0);
}

static void print_used(int who)
{
	struct rusage usage;
	getrusage(who, &usage);
	printf("%f %ld\n",
	       usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
	       usage.ru_nvcsw + usage.ru_nivcsw);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "chain";
	signal(SIGUSR1, handler);
	if (what[0] == 'b') {
		for (int i = 0; i < 100; i++)
			brief();
		print_used(RUSAGE_CHILDREN);
		print_used(RUSAGE_SELF);
		return 0;
	}
	if (what[0] == 't') {
		pthread_t other;
		if (pthread_create(&other, 0, thread, argv[1]))
			return 1;
		pthread_join(other, 0);
	}
	while (forever)
		sink += outer(what);
	return 0;
}
