/*
 * Unwinds by elfutils' libdw from registers and copies of stacks.
 *
 *   reference PID < samples > chains
 *
 * A sample: pc, 16 registers by DWARF number, address of the copy's first page, which pages from there on
 * it has (a bit each), their number of bytes, all as 8 bytes; then these bytes. A chain, a line for each sample:
 * `whole` or `broken`, then the program counters in hexadecimal, leaf first. The process must still be there.
 */
#include <elfutils/libdwfl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE 4096
#define FRAMES 400

static struct {
	uint64_t pc, registers[16], start, present, bytes;
} head;
static unsigned char stack[64 * PAGE];
static uint64_t frames[FRAMES];
static size_t count;
static pid_t process;

static bool word_at(uint64_t address, Dwarf_Word *result)
{
	unsigned char *bytes = (unsigned char *)result;

	for (int i = 0; i < 8; i++) {
		uint64_t at = address + i - head.start, page = at / PAGE;
		if (address + i < head.start || page >= 64 || !(head.present >> page & 1))
			return false;
		at = (uint64_t)__builtin_popcountll(head.present & ((1ULL << page) - 1)) * PAGE + at % PAGE;
		if (at >= head.bytes)
			return false;
		bytes[i] = stack[at];
	}
	return true;
}

static pid_t next_thread(Dwfl *dwfl, void *argument, void **thread)
{
	(void)dwfl;
	(void)argument;
	if (*thread)
		return 0;
	*thread = &head;
	return process;
}

static bool memory_read(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *argument)
{
	(void)dwfl;
	(void)argument;
	return word_at(address, result);
}

static bool set_registers(Dwfl_Thread *thread, void *argument)
{
	Dwarf_Word all[17];

	(void)argument;
	for (int i = 0; i < 16; i++)
		all[i] = head.registers[i];
	all[16] = head.pc;
	return dwfl_thread_state_registers(thread, 0, 17, all);
}

static int frame(Dwfl_Frame *state, void *argument)
{
	Dwarf_Addr pc;

	(void)argument;
	if (!dwfl_frame_pc(state, &pc, NULL) || count == FRAMES)
		return DWARF_CB_ABORT;
	frames[count++] = pc;
	return DWARF_CB_OK;
}

static int thread(Dwfl_Thread *thread, void *argument)
{
	*(int *)argument = dwfl_thread_getframes(thread, frame, NULL);
	return DWARF_CB_ABORT;
}

static int no_debuginfo(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file,
			const char *link, GElf_Word crc, char **found)
{
	(void)module, (void)data, (void)name, (void)base, (void)file, (void)link, (void)crc, (void)found;
	return -1;
}

int main(int argc, char **argv)
{
	static const Dwfl_Callbacks files = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = no_debuginfo,
	};
	static const Dwfl_Thread_Callbacks threads = {
		.next_thread = next_thread,
		.memory_read = memory_read,
		.set_initial_registers = set_registers,
	};
	Dwfl *dwfl = dwfl_begin(&files);

	process = argc > 1 ? atoi(argv[1]) : 0;
	if (!dwfl || dwfl_linux_proc_report(dwfl, process) || dwfl_report_end(dwfl, NULL, NULL) ||
	    !dwfl_attach_state(dwfl, NULL, process, &threads, &head)) {
		fprintf(stderr, "reference: process %d: %s\n", process, dwfl_errmsg(-1));
		return 1;
	}
	while (fread(&head, sizeof(head), 1, stdin) == 1) {
		int outcome = -1;
		if (head.bytes > sizeof(stack) || fread(stack, 1, head.bytes, stdin) != head.bytes)
			return 1;
		count = 0;
		dwfl_getthreads(dwfl, thread, &outcome);
		fputs(outcome == 0 ? "whole" : "broken", stdout);
		for (size_t i = 0; i < count; i++)
			printf(" %llx", (unsigned long long)frames[i]);
		putchar('\n');
	}
	dwfl_end(dwfl);
	return 0;
}
