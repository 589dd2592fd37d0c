/*
 * Functions that are made at run time, called from functions with frames, by the first argument; x86-64.
 *
 *   leaf      no frame at all
 *   saves     no frame, and registers on the stack
 *   begins    a loop before each instruction of the prologue, and after each of the epilogue
 *   framed    a function with a frame that calls one without
 *   frames    functions with frames only
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#define FUNCTION __attribute__((noipa)) void
#define LOOP(n) "mov $500000,%ecx\n" #n ": dec %ecx\n jnz " #n "b\n"

extern const char made_start[], made_end[], made_leaf[], made_saves[], made_begins[], made_framed[], made_frames[];

__asm__(".text\n"
	"made_start:\n"
	"made_leaf: " LOOP(1) " mov %rdi,%rax\n ret\n"
	"made_saves: push %rbx\n push %r12\n " LOOP(1) " mov %ecx,%ebx\n pop %r12\n pop %rbx\n ret\n"
	"made_begins: " LOOP(1) " push %rbp\n " LOOP(2) " mov %rsp,%rbp\n " LOOP(3)
	" sub $32,%rsp\n " LOOP(4) " leave\n " LOOP(5) " ret\n"
	"made_framed: push %rbp\n mov %rsp,%rbp\n call made_leaf\n pop %rbp\n ret\n"
	"made_frames: push %rbp\n mov %rsp,%rbp\n " LOOP(1) " pop %rbp\n ret\n"
	"made_end:\n");

static void (*made)(void);
static volatile unsigned long sink;

FUNCTION inner(void) { made(); sink++; }
FUNCTION outer(void) { inner(); sink++; }

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "leaf";
	const char *from = !strcmp(what, "saves")  ? made_saves :
			   !strcmp(what, "begins") ? made_begins :
			   !strcmp(what, "framed") ? made_framed :
			   !strcmp(what, "frames") ? made_frames :
						     made_leaf;
	unsigned long length = made_end - made_start;
	char *memory = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return 1;
	memcpy(memory, made_start, length);
	if (mprotect(memory, length, PROT_READ | PROT_EXEC))
		return 1;
	made = (void (*)(void))(memory + (from - made_start));
	for (;;)
		outer();
}
