/*
 * periodic PERIOD_US BUSY_US: wakes at every multiple of the period on CLOCK_MONOTONIC, from the next whole second on, and
 * is busy for BUSY_US. Each turn lasts so long by the clock, whatever else the machine does.
 */
#include <stdlib.h>
#include <time.h>

static volatile unsigned long turns;

static long nanoseconds(const struct timespec *time)
{
	return time->tv_sec * 1000000000L + time->tv_nsec;
}

int main(int count, char **arguments)
{
	if (count != 3)
		return 2;
	long period = atol(arguments[1]) * 1000, busy = atol(arguments[2]) * 1000;
	struct timespec due, now;

	clock_gettime(CLOCK_MONOTONIC, &due);
	due.tv_nsec = 0;
	due.tv_sec++;
	for (;;) {
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, 0);
		do {
			for (int i = 0; i < 1000; i++)
				turns++;
			clock_gettime(CLOCK_MONOTONIC, &now);
		} while (nanoseconds(&now) - nanoseconds(&due) < busy);
		due.tv_nsec += period;
		while (due.tv_nsec >= 1000000000) {
			due.tv_nsec -= 1000000000;
			due.tv_sec++;
		}
	}
}
