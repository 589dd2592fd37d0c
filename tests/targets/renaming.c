/*
 * Spins under its own name until it is told to take another by SIGUSR1, and then under that.
 *
 *   renaming main NAME       main -> before; then as NAME main -> after, until it is killed
 *   renaming thread NAME     the same by a thread called "worker": work -> before; then work -> after. The main thread
 *                            sleeps, and takes the name while the worker is in neither.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

static volatile sig_atomic_t told;
static volatile unsigned long sink;
static sem_t between, renamed;

static void tell(int number)
{
	(void)number;
	told = 1;
}

__attribute__((noinline)) static void before(void)
{
	while (!told)
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
	prctl(PR_SET_NAME, "worker");
	before();
	sem_post(&between);
	while (sem_wait(&renamed))
		;
	after();
	return argument;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 3)
		return 2;
	signal(SIGUSR1, tell);
	if (!strcmp(argv[1], "main")) {
		before();
		prctl(PR_SET_NAME, argv[2]);
		after();
	}
	if (sem_init(&between, 0, 0) || sem_init(&renamed, 0, 0) || pthread_create(&thread, 0, work, 0))
		return 1;
	while (sem_wait(&between))
		;
	prctl(PR_SET_NAME, argv[2]);
	sem_post(&renamed);
	pthread_join(thread, 0);
	return 0;
}
