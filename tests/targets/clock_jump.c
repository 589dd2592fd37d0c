/* Preloaded into a program: its wall clock is an hour ahead once a file exists, whose path the environment says. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
	long result = syscall(SYS_clock_gettime, clock, time);
	const char *jump = getenv("CLOCK_JUMP");
	if (clock == CLOCK_REALTIME && jump && access(jump, F_OK) == 0)
		time->tv_sec += 3600;
	return (int)result;
}
