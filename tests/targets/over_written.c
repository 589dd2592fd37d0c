/* Runs for a moment; with -DSECOND it is another program, with other functions at the same addresses. */
static volatile unsigned long sink;

#ifdef SECOND
__attribute__((noipa)) void padding(void)
{
	for (long i = 0; i < 3; i++)
		sink += i;
	sink *= 3;
}
#define LEAF second_leaf
#define TOP second_top
#else
#define LEAF first_leaf
#define TOP first_top
#endif

__attribute__((noipa)) void LEAF(void)
{
	for (long i = 0; i < 200000000; i++)
		sink += i;
}

__attribute__((noipa)) void TOP(void)
{
#ifdef SECOND
	padding();
#endif
	LEAF();
	sink++;
}

int main(void)
{
	TOP();
	return 0;
}
