/*
 * Stacks that walkers take for others, by the first argument; x86-64.
 *
 *   plain       three functions
 *   hot         two functions in a segment of their own, far from the others
 *   zero        assembly without call frame information that has zero in the frame pointer's register, and calls
 *   leaf        assembly without call frame information and without a frame
 *   mark        a function with the mark of a signal's frame that is none
 *   above       a stack that lies above the one that it was called from
 *   expression  a frame whose address lies in a word that the frame pointer points at
 *   coroutine   stacks that were made by makecontext(3)
 *   fault       a signal at the first byte of a function
 *   stubs       calls by way of the procedure linkage table
 *   label       code behind a label without a size
 *   deep N      N frames
 *   moved       code that was moved into memory without a file
 *   dying       processes that end
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define FUNCTION __attribute__((noipa)) void

static volatile unsigned long sink;

FUNCTION spin(void)
{
	for (long i = 0; i < 3000000; i++)
		sink += i;
}

FUNCTION plain_leaf(void) { spin(); sink++; }
FUNCTION plain_mid(void) { plain_leaf(); sink++; }
FUNCTION plain_top(void) { plain_mid(); sink++; }

__attribute__((section(".hot"))) FUNCTION hot_inner(void) { for (long i = 0; i < 3000000; i++) sink += i; }
__attribute__((section(".hot"))) FUNCTION hot_outer(void) { hot_inner(); sink++; }

void zero_hash(void), bare_leaf(void), marked(void), sizeless(void), faulter(long *);
void call_in(void (*)(void)), on_stack(void (*)(void), void *);

__asm__(".text\n"
	".globl zero_hash\n.type zero_hash,@function\n"
	"zero_hash: push %rbp\n xor %ebp,%ebp\n push %rbx\n mov $100,%ebx\n"
	"1: sub $8,%rsp\n call spin\n add $8,%rsp\n dec %ebx\n jnz 1b\n pop %rbx\n pop %rbp\n ret\n"
	".size zero_hash,.-zero_hash\n"
	".globl bare_leaf\n.type bare_leaf,@function\n"
	"bare_leaf: mov $3000000,%ecx\n1: dec %ecx\n jnz 1b\n mov %rdi,%rax\n ret\n"
	".size bare_leaf,.-bare_leaf\n"
	".globl marked\n.type marked,@function\n"
	"marked: .cfi_startproc\n .cfi_signal_frame\n push %rbp\n .cfi_def_cfa_offset 16\n .cfi_offset rbp,-16\n"
	" mov %rsp,%rbp\n .cfi_def_cfa_register rbp\n call spin\n pop %rbp\n .cfi_def_cfa rsp,8\n ret\n .cfi_endproc\n"
	".size marked,.-marked\n"
	".globl on_stack\n.type on_stack,@function\n"
	"on_stack: .cfi_startproc\n push %rbx\n .cfi_def_cfa_offset 16\n .cfi_offset rbx,-16\n mov %rsp,%rbx\n"
	" .cfi_def_cfa_register rbx\n mov %rsi,%rsp\n call *%rdi\n mov %rbx,%rsp\n .cfi_def_cfa_register rsp\n"
	" pop %rbx\n .cfi_def_cfa_offset 8\n ret\n .cfi_endproc\n"
	".size on_stack,.-on_stack\n"
	/* The canonical frame address is *(rbp) + 16, the caller's rbp lies at rbp + 8. */
	".globl call_in\n.type call_in,@function\n"
	"call_in: .cfi_startproc\n push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset rbp,0\n mov %rsp,%rbp\n"
	" .cfi_def_cfa_register rbp\n push %rbp\n lea -8(%rbp),%rbp\n .cfi_escape 0x0f,5,0x76,0,0x06,0x40,0x22\n"
	" .cfi_escape 0x10,6,2,0x76,8\n sub $8,%rsp\n call *%rdi\n add $8,%rsp\n lea 8(%rbp),%rbp\n"
	" .cfi_def_cfa rbp,16\n .cfi_offset rbp,-16\n mov %rbp,%rsp\n pop %rbp\n .cfi_def_cfa rsp,8\n ret\n .cfi_endproc\n"
	".size call_in,.-call_in\n"
	".globl before_faulter\n.type before_faulter,@function\n"
	"before_faulter: .cfi_startproc\n sub $24,%rsp\n .cfi_def_cfa_offset 32\n call abort\n .cfi_endproc\n"
	".size before_faulter,.-before_faulter\n"
	".globl faulter\n.type faulter,@function\n"
	"faulter: .cfi_startproc\n mov (%rdi),%rax\n ret\n .cfi_endproc\n"
	".size faulter,.-faulter\n"
	".globl sizeless\n"
	"sizeless: .cfi_startproc\n ret\n .cfi_endproc\n");

FUNCTION zero_outer(void) { zero_hash(); sink++; }
FUNCTION leaf_inner(void) { bare_leaf(); sink++; }
FUNCTION leaf_outer(void) { leaf_inner(); sink++; }
FUNCTION mark_outer(void) { marked(); sink++; }
FUNCTION expression_outer(void) { call_in(spin); sink++; }

static char *other_stack;

FUNCTION above_inner(void) { for (;;) { spin(); sink++; } }
FUNCTION above_outer(void) { on_stack(above_inner, other_stack); sink++; }

static void *above(void *unused)
{
	above_outer();
	return unused;
}

static ucontext_t scheduler, coroutines[8];
static int current;

FUNCTION yield_deep(int depth)
{
	if (depth) {
		yield_deep(depth - 1);
	} else {
		spin();
		swapcontext(&coroutines[current], &scheduler);
	}
	sink++;
}

static void coroutine(int number)
{
	for (;;)
		yield_deep(10 + number);
}

static void run_coroutines(void)
{
	for (int number = 0; number < 8; number++) {
		ucontext_t *context = &coroutines[number];
		getcontext(context);
		context->uc_stack.ss_sp = malloc(65536);
		context->uc_stack.ss_size = 65536;
		context->uc_link = &scheduler;
		makecontext(context, (void (*)(void))coroutine, 1, number);
	}
	for (;;)
		for (current = 0; current < 8; current++)
			swapcontext(&scheduler, &coroutines[current]);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	static long readable;

	(void)number, (void)info;
	spin();
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RDI] = (long)&readable;
}

FUNCTION faults(void) { faulter((long *)8); sink++; }

static __attribute__((noipa)) void hidden(void) { for (long i = 0; i < 3000000; i++) sink += i; }

FUNCTION stubs(void)
{
	for (int i = 0; i < 1000; i++)
		sink += labs(sink) + abs((int)sink) + ffsl(sink);
}

__attribute__((noipa)) long deep(long frames)
{
	if (frames == 0) {
		for (;;)
			spin();
	}
	return deep(frames - 1) + sink;
}

static void move_code(void)
{
	unsigned long start = 0, end = 0, from, to;
	char line[512], rights[5], *copy;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3 && from <= (unsigned long)plain_top &&
		    (unsigned long)plain_top < to) {
			start = from;
			end = to;
		}
	fclose(maps);
	copy = mmap(0, end - start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(copy, (void *)start, end - start);
	mprotect(copy, end - start, PROT_READ | PROT_EXEC);
	mremap(copy, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)start);
}

static void die(void)
{
	char *memory = malloc(64 << 20);

	memset(memory, 1, 64 << 20);
	_exit(0);
}

static const struct {
	const char *what;
	void (*work)(void);
} works[] = {
	{"plain", plain_top}, {"hot", hot_outer}, {"zero", zero_outer},
	{"leaf", leaf_outer}, {"mark", mark_outer}, {"expression", expression_outer},
	{"stubs", stubs},
};

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	void (*work)(void) = 0;

	for (unsigned i = 0; i < sizeof(works) / sizeof(*works); i++)
		if (!strcmp(what, works[i].what))
			work = works[i].work;
	if (!strcmp(what, "label")) {
		sizeless();
		work = hidden;
	}
	if (!strcmp(what, "above")) {
		pthread_t thread;
		other_stack = mmap((void *)0x7ffe00000000, 1 << 20, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		other_stack += 1 << 20;
		pthread_create(&thread, 0, above, 0);
		pthread_join(thread, 0);
	}
	if (!strcmp(what, "coroutine"))
		run_coroutines();
	if (!strcmp(what, "fault")) {
		struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
		sigaction(SIGSEGV, &action, 0);
		work = faults;
	}
	if (!strcmp(what, "deep"))
		deep(atol(argv[2]));
	if (!strcmp(what, "moved")) {
		move_code();
		work = plain_top;
	}
	for (; !strcmp(what, "dying");) {
		if (fork() == 0)
			die();
		wait(0);
	}
	for (; work;)
		work();
	return 2;
}
