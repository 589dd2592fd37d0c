/* Spends its time in the C library: sorting, copying, allocating; with `signal` in a signal's handler, too. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define FUNCTION __attribute__((noipa)) void

static volatile unsigned long sink;
static int values[2000];
static char here[4096], there[4096];

static int compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

FUNCTION sorts(void)
{
	for (int i = 0; i < 2000; i++)
		values[i] = rand();
	qsort(values, 2000, sizeof(int), compare);
	sink++;
}

FUNCTION copies(void)
{
	for (int i = 0; i < 200; i++) {
		memcpy(here, there, sizeof(here));
		memmove(there + 1, there, sizeof(there) - 1);
		memset(here, i, sizeof(here));
	}
	sink++;
}

FUNCTION allocates(void)
{
	void *memory[200];

	for (int i = 0; i < 200; i++)
		memory[i] = malloc(16 + i * 7);
	for (int i = 0; i < 200; i++)
		free(memory[i]);
	sink++;
}

FUNCTION in_handler(void)
{
	for (long i = 0; i < 1000000; i++)
		sink += i;
}

static void handler(int number)
{
	(void)number;
	in_handler();
	sink++;
}

FUNCTION interrupted(void)
{
	for (long i = 0; i < 3000000; i++)
		sink ^= i;
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1) {
		struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
		struct itimerval often = {{0, 5000}, {0, 5000}};
		sigaction(SIGALRM, &action, 0);
		setitimer(ITIMER_REAL, &often, 0);
	}
	for (;;) {
		if (argc > 1) {
			interrupted();
		} else {
			sorts();
			copies();
			allocates();
		}
	}
}
