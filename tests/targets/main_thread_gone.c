/*
 * Two threads that spin after the main one has ended: all that /proc shows by the process's id is empty then.
 *
 * Expected user stacks, root first, both complete:
 *
 *   ...;run;middle;spin
 *   ...;run;wide;middle;spin      over a frame larger than any copy of a stack
 *
 * Runs until it is killed. Built without frame pointers.
 */
#include <pthread.h>
#include <string.h>

#define NOINLINE __attribute__((noipa))

static volatile unsigned long sink;

NOINLINE static void spin(long turns)
{
	for (long i = 0; i < turns; i++)
		sink += i;
}

NOINLINE static void middle(long turns)
{
	spin(turns);
	sink++;
}

NOINLINE static void wide(long turns)
{
	char room[300 << 10];
	memset(room, (int)turns, sizeof(room));
	middle(turns);
	sink += room[turns % 1000];
}

NOINLINE static void *run(void *is_wide)
{
	for (;;) {
		if (is_wide)
			wide(20000000);
		else
			middle(20000000);
		sink++;
	}
	return 0;
}

int main(void)
{
	pthread_t thread;
	pthread_create(&thread, 0, run, 0);
	pthread_create(&thread, 0, run, "");
	pthread_exit(0);
}
