/*
 * A program without libc, built with frame pointers, that spends its time in two known places.
 *
 * Expected user stacks, root first, both complete (`_start` clears the frame pointer):
 *
 *   _start;start;outer;middle;inner;spin
 *   _start;start;outer;middle;ask_kernel      below kernel frames: it fills a large buffer by getrandom(2)
 *
 * Runs until it is killed.
 */

#define NOINLINE __attribute__((noipa))

/* Makes the compiler give a function without calls a frame of its own. */
#define WITH_FRAME() (sink += (unsigned long)__builtin_frame_address(0))

static volatile unsigned long sink;
static unsigned char buffer[1 << 20];

NOINLINE static void spin(unsigned long turns)
{
	WITH_FRAME();
	for (unsigned long i = 0; i < turns; i++)
		sink += i * i;
}

NOINLINE static void inner(unsigned long turns)
{
	spin(turns);
	sink++;
}

/* A system call in a function that has a frame, without any function between it and the kernel. */
NOINLINE static void ask_kernel(void)
{
	long result;

	WITH_FRAME();
#if defined(__x86_64__)
	register long flags __asm__("rdx") = 0;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(318L), "D"(buffer), "S"(sizeof(buffer)), "r"(flags)
			 : "rcx", "r11", "memory");
#else
	register long x0 __asm__("x0") = (long)buffer;
	register long x1 __asm__("x1") = sizeof(buffer);
	register long x2 __asm__("x2") = 0;
	register long x8 __asm__("x8") = 278;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
	result = x0;
#endif
	sink += result;
}

NOINLINE static void middle(unsigned long turns)
{
	inner(turns);
	ask_kernel();
	sink++;
}

NOINLINE static void outer(void)
{
	for (;;)
		middle(2000000);
}

__attribute__((used)) NOINLINE static void start(void)
{
	outer();
	sink++;
}

#if defined(__x86_64__)
__asm__(".globl _start\n.type _start,@function\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call start\n hlt\n.size _start,.-_start\n");
#else
__asm__(".globl _start\n.type _start,@function\n_start: mov x29, #0\n mov x30, #0\n bl start\n brk #0\n.size _start,.-_start\n");
#endif
