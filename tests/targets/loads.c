/*
 * A program that loads a library (loaded.c) when it was at work for a while, and goes on in it.
 *
 *   loads LIBRARY    _start;...;main;before, for half a second of CPU time, then
 *                    _start;...;main;with_library;loaded_outer;loaded_inner
 *
 * Runs until it is killed.
 */
#include <dlfcn.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile unsigned long sink;

NOINLINE static int before(void)
{
	while (clock() < CLOCKS_PER_SEC / 2)
		for (int i = 0; i < 100000; i++)
			sink += i;
	return (int)sink;
}

NOINLINE static int with_library(int (*work)(unsigned long))
{
	for (;;)
		sink += work(5000000);
	return (int)sink;
}

int main(int argc, char **argv)
{
	sink += before();
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : 0;
	int (*work)(unsigned long) = library ? (int (*)(unsigned long))dlsym(library, "loaded_outer") : 0;
	if (!work)
		return 2;
	return with_library(work) + 1;
}
