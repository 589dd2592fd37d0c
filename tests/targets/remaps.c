/*
 * Code that changes under the same addresses: loads one of two libraries, runs it, unloads it and loads the
 * other, which the dynamic linker puts in the same place; after some rounds it executes itself again. Built
 * without frame pointers. The libraries are made of this file, too, with -DFRAME=<words> and other sizes.
 *
 * Expected stacks: main;work_<words>;spin. Runs until it is killed.
 *
 *   remaps LIBRARY LIBRARY [TURNS]
 */
#include <stdint.h>

#ifdef FRAME
#define NAME_(words) work_##words
#define NAME(words) NAME_(words)

__attribute__((noipa)) static uint64_t spin(volatile uint64_t *words, uint64_t turns)
{
	for (uint64_t i = 0; i < turns; i++)
		words[i % FRAME] += i;
	return words[0];
}

__attribute__((noipa)) static uint64_t NAME(FRAME)(uint64_t turns)
{
	volatile uint64_t words[FRAME] = { 0 };

	return spin(words, turns) + 1;
}

uint64_t work(uint64_t turns)
{
	return NAME(FRAME)(turns) + 1;
}
#else
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	uint64_t turns = argc > 3 ? strtoull(argv[3], 0, 10) : 50000000;

	for (int round = 0; round < 20; round++) {
		void *library = dlopen(argv[1 + round % 2], RTLD_NOW | RTLD_LOCAL);
		uint64_t (*work)(uint64_t) = library ? (uint64_t (*)(uint64_t))dlsym(library, "work") : 0;
		if (!work) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
		work(turns);
		dlclose(library);
	}
	execv("/proc/self/exe", argv);
	return argc;
}
#endif
