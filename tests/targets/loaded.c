/* The library of loads.c. */
#define NOINLINE __attribute__((noinline, noclone))

static volatile unsigned long sink;

NOINLINE static void loaded_inner(unsigned long turns)
{
	for (unsigned long i = 0; i < turns; i++)
		sink += i * i;
}

NOINLINE int loaded_outer(unsigned long turns)
{
	loaded_inner(turns);
	return (int)sink + 1;
}
