/*
 * Probes the return of one of its functions (uretprobe), so that the kernel has put an address of its own in the place of
 * the one that the function returns to. Runs until it is killed.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile unsigned long sink;

#define FUNCTION __attribute__((noipa)) void

FUNCTION spin(void)
{
	for (long i = 0; i < 3000000; i++)
		sink += i;
}

FUNCTION probed(void) { spin(); sink++; }
FUNCTION outer(void) { probed(); sink++; }

/* The place of an address in this program's file. */
static unsigned long offset_of(unsigned long address)
{
	unsigned long from, to, offset, found = 0;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3 && from <= address && address < to)
			found = address - from + offset;
	fclose(maps);
	return found;
}

int main(void)
{
	struct perf_event_attr attr;
	FILE *type = fopen("/sys/bus/event_source/devices/uprobe/type", "r");

	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	if (!type || fscanf(type, "%u", &attr.type) != 1)
		return 1;
	/* /sys/bus/event_source/devices/uprobe/format/retprobe */
	attr.config = 1;
	attr.uprobe_path = (uintptr_t)"/proc/self/exe";
	attr.probe_offset = offset_of((unsigned long)probed);
	if (syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0) < 0) {
		perror("perf_event_open");
		return 1;
	}
	for (;;)
		outer();
}
