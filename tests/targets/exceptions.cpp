/*
 * A program that throws and catches, so that most samples are taken while the C++ runtime itself unwinds.
 *
 *   _start;...;main;outer;catcher;thrower;__cxa_throw;_Unwind_RaiseException;...
 *   _start;...;main;outer;catcher;__cxa_begin_catch and the like, after the frames of the thrower are gone
 *
 * Runs until it is killed.
 */
#define NOINLINE __attribute__((noinline))

static volatile unsigned long sink;

extern "C" NOINLINE void thrower(int levels)
{
	/* Something to be cleaned up on the way. */
	struct Counted {
		~Counted() { sink = sink + 1; }
	} counted;
	if (levels > 0)
		thrower(levels - 1);
	else
		throw 42;
	sink = sink + 1;
}

extern "C" NOINLINE int catcher(void)
{
	try {
		thrower(5);
	} catch (int number) {
		return number;
	}
	return 0;
}

extern "C" NOINLINE void outer(void)
{
	for (int i = 0; i < 1000; i++)
		sink = sink + catcher();
	sink = sink + 1;
}

int main()
{
	for (;;) {
		outer();
		sink = sink + 1;
	}
}
