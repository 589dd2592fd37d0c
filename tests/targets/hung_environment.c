/*
 * Maps a file over its own environment, and spins without touching it:
 *
 *   hung_environment FILE      FILE is as large as the environment, which is larger than two pages
 *
 * Whoever reads the environment by /proc waits for the file's pages. Expected user stack: main;spin. Runs until it is
 * killed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define NOINLINE __attribute__((noipa))
#define PAGE 4096ul

static volatile unsigned long sink;

NOINLINE static void spin(void)
{
	for (long i = 0; i < 20000000; i++)
		sink += i;
}

int main(int argc, char **argv)
{
	char text[4096] = "";
	unsigned long start = 0, end = 0;
	FILE *stat = fopen("/proc/self/stat", "r");
	if (argc != 2 || !stat || !fgets(text, sizeof(text), stat))
		return 2;
	/* The fields 50 and 51; the third stands after the name. */
	char *field = strrchr(text, ')');
	for (int number = 2; number < 50; number++)
		field = strchr(field + 1, ' ');
	sscanf(field, "%lu %lu", &start, &end);
	start = (start + PAGE - 1) & -PAGE;
	end &= -PAGE;
	int file = open(argv[1], O_RDONLY);
	if (mmap((void *)start, end - start, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) == MAP_FAILED)
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;)
		spin();
}
