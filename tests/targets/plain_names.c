/*
 * C functions whose names a demangler would take for types: `f` for float, `St` for std, `Pc` for char*.
 *
 * Runs until it is killed.
 */

#define NOINLINE __attribute__((noipa))

static volatile unsigned long sink;

static void work(void)
{
	for (unsigned long i = 0; i < 20000; i++)
		sink += i;
}

NOINLINE void f(void) { work(); }
NOINLINE void t(void) { work(); }
NOINLINE void St(void) { work(); }
NOINLINE void Pc(void) { work(); }

int main(void)
{
	for (;;) {
		f();
		t();
		St();
		Pc();
	}
}
