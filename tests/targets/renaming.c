/*
 * Spins under its own name, then takes another and spins on.
 *
 *   renaming main NAME SECONDS     main -> before, for so long; then as NAME main -> after, for ever
 *   renaming thread NAME SECONDS   the same by a thread called "worker", whose stack is work -> before or
 *                                  after; the main thread sleeps, and is the one that takes the name
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static volatile int renamed;
static volatile unsigned long sink;

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

__attribute__((noinline)) static void before(double until)
{
	while (!renamed && now() < until)
		for (int i = 0; i < 100000; i++)
			sink += i;
}

__attribute__((noinline)) static void after(void)
{
	for (;;)
		for (int i = 0; i < 100000; i++)
			sink += i;
}

static void *work(void *argument)
{
	(void)argument;
	prctl(PR_SET_NAME, "worker");
	before(now() + 1e6);
	after();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	double seconds = atof(argv[3]);
	if (!strcmp(argv[1], "main")) {
		before(now() + seconds);
		prctl(PR_SET_NAME, argv[2]);
		after();
	}
	pthread_t thread;
	if (pthread_create(&thread, 0, work, 0))
		return 1;
	usleep(seconds * 1e6);
	prctl(PR_SET_NAME, argv[2]);
	renamed = 1;
	pause();
	return 0;
}
