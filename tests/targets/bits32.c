/* A 32-bit program, without a library. */
static volatile unsigned long sink;

__attribute__((noipa)) void leaf(void)
{
	for (long i = 0; i < 1000000; i++)
		sink += i;
}

__attribute__((noipa)) void middle(void)
{
	leaf();
	sink++;
}

void _start(void)
{
	for (;;) {
		middle();
		sink++;
	}
}
