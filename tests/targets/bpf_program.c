/*
 * Spends its time in BPF programs, one after the other: in `early_program`, after a SIGUSR1 in `late_program`, which is
 * loaded then, and after another one in the first again, while the other is unloaded. Runs until it is killed.
 */
#include <linux/bpf.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile sig_atomic_t phase;

static void next_phase(int number)
{
	(void)number;
	phase++;
}

static int load(const char *name)
{
	/* r0 = 0; do r0 += 1; while (r0 < 100000); exit */
	static const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .imm = 1},
		{.code = BPF_JMP | BPF_JLT | BPF_K, .off = -2, .imm = 100000},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)code;
	attr.insn_cnt = sizeof(code) / sizeof(*code);
	attr.license = (uintptr_t)"GPL";
	strncpy(attr.prog_name, name, sizeof(attr.prog_name) - 1);
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

__attribute__((noipa)) static int run(int program)
{
	static char packet[64];
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = program;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 200;
	return (int)syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
}

int main(void)
{
	int early = load("early_program"), late = -1;

	signal(SIGUSR1, next_phase);
	for (;;) {
		if (phase == 1 && late < 0)
			late = load("late_program");
		if (phase == 2 && late >= 0) {
			close(late);
			late = -1;
		}
		/* A signal ends a run early. */
		if (run(late >= 0 ? late : early) < 0 && phase == 0) {
			perror("bpf");
			return 1;
		}
	}
}
