/*
 * A neighbour who spoils its own files and names while they are looked at: copies a library under a name that nobody
 * expects, executes it in a child of any name, and meanwhile truncates it, fills it with other bytes, makes it as large as no
 * disk is, or puts something else in its place. Between that it executes programs for a moment. Runs until it is
 * killed; its children then are, too.
 *
 *   neighbour FOLDER LIBRARY [PROGRAM]...
 *
 * The library is made of this file, too, with -DLIBRARY.
 */
#ifdef LIBRARY
static volatile unsigned long sink;

__attribute__((noipa)) void spoiled(void)
{
	for (;;)
		sink++;
}
#else
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LANES 3

static unsigned long random_state;

static unsigned long any(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void pass(long milliseconds)
{
	struct timespec time = {0, milliseconds * 1000000};

	nanosleep(&time, 0);
}

/* Bytes of any value but those that end a name. */
static void fill(char *name, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		unsigned char byte = any();
		name[i] = byte == 0 || byte == '/' ? 0x1b : byte;
	}
	name[bytes] = 0;
}

static void copy(const char *from, const char *to)
{
	char buffer[1 << 16];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);
	ssize_t got;

	while ((got = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, got) != got)
			break;
	close(in);
	close(out);
}

/* Whatever the owner of a file can do to it; what fails does no harm. */
static void spoil(const char *path, const char *aside)
{
	static const char *const LINKS[] = {"/dev/zero", "/proc/kmsg", "/proc/self/mem", "/etc/shadow", "."};
	struct stat status;
	char garbage[4096];
	int file, ignored = 0;

	if (stat(path, &status))
		return;
	switch (any() % 9) {
	case 0:
		ignored += truncate(path, 0);
		break;
	case 1:
		ignored += truncate(path, status.st_size / 2);
		break;
	case 2:
		/* As sparse as it is large. */
		ignored += truncate(path, 1L << 40);
		break;
	case 3:
		file = open(path, O_WRONLY);
		fill(garbage, sizeof(garbage) - 1);
		for (long at = 64; at < status.st_size; at += sizeof(garbage))
			ignored += pwrite(file, garbage, sizeof(garbage), at) < 0;
		close(file);
		break;
	case 4:
		/* The place and the number of its sections, as it states them. */
		file = open(path, O_WRONLY);
		fill(garbage, 24);
		ignored += pwrite(file, garbage, 24, 40) < 0;
		close(file);
		break;
	case 5:
		ignored += rename(path, aside);
		ignored += mkfifo(path, 0600);
		break;
	case 6:
		ignored += rename(path, aside);
		ignored += symlink(LINKS[any() % (sizeof(LINKS) / sizeof(*LINKS))], path);
		break;
	case 7:
		ignored += unlink(path);
		ignored += mkdir(path, 0700);
		break;
	case 8:
		file = open(path, O_WRONLY | O_APPEND);
		for (int i = 0; i < 64; i++)
			ignored += write(file, garbage, sizeof(garbage)) < 0;
		close(file);
		break;
	}
}

/* Ends with the parent, also if that has ended already. */
static void end_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static void lane(const char *folder, const char *library, char **programs, int count)
{
	char path[512], aside[600], name[48], comm[16];
	pid_t lane_pid = getpid();

	for (;;) {
		pid_t child;

		fill(name, sizeof(name) - 1);
		snprintf(path, sizeof(path), "%s/%s", folder, name);
		snprintf(aside, sizeof(aside), "%s.aside", path);
		copy(library, path);
		fill(comm, sizeof(comm) - 1);
		child = fork();
		if (child == 0) {
			end_with(lane_pid);
			void *loaded = dlopen(path, RTLD_NOW);
			void (*spoiled)(void) = loaded ? (void (*)(void))dlsym(loaded, "spoiled") : 0;

			prctl(PR_SET_NAME, comm);
			if (spoiled)
				spoiled();
			_exit(1);
		}
		pass(any() % 40);
		spoil(path, aside);
		pass(any() % 40);
		kill(child, SIGKILL);
		waitpid(child, 0, 0);
		remove(path);
		remove(aside);
		if (count == 0)
			continue;
		child = fork();
		if (child == 0) {
			end_with(lane_pid);
			execl(programs[any() % count], comm, (char *)0);
			_exit(1);
		}
		pass(20 + any() % 40);
		kill(child, SIGKILL);
		waitpid(child, 0, 0);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	/* Of a truncated file a child dies, which is its own affair; a core would only take time. */
	prctl(PR_SET_DUMPABLE, 0);
	pid_t parent = getpid();
	for (int number = 0; number < LANES; number++) {
		if (fork() == 0) {
			end_with(parent);
			random_state = 0x9e3779b97f4a7c15 * (number + 1);
			lane(argv[1], argv[2], argv + 3, argc - 3);
		}
	}
	pause();
	return 0;
}
#endif
