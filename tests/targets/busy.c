/*
 * Pins itself to a CPU, spins for some seconds of its own CPU time, then prints that time.
 *
 *   busy CPU SECONDS      stdout: CPU time in seconds, user and system, and how often it was taken off the CPU,
 *                         both from getrusage(2)
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct rusage usage;

static double cpu_seconds(void)
{
	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return 1;
	volatile unsigned long sink = 0;
	while (cpu_seconds() < atof(argv[2]))
		for (int i = 0; i < 1000000; i++)
			sink += i;
	printf("%f ", cpu_seconds());
	printf("%ld\n", usage.ru_nvcsw + usage.ru_nivcsw);
	return 0;
}
