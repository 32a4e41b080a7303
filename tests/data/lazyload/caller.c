/* Calls each kind of function of sample.c once more than once, as a program that links to it. */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef float quad __attribute__((vector_size(16)));

struct pair {
	long a;
	double b;
};

struct big {
	long values[8];
};

extern long integers(long, long, long, long, long, long, long, long);
extern double doubles(double, double, double, double, double, double, double, double, double);
extern quad quads(quad, quad, quad, quad, quad, quad, quad, quad);
extern long double long_doubles(long double, long double);
extern struct pair pair(long, double);
extern struct big big(long);
extern int format(char *, size_t, const char *, ...);
extern int error_number(void);
extern void *own_address(void);
extern int was_constructed(void);

#define NUMBER(n) extern long number_##n(void);
#include "numbers.inc"
#undef NUMBER
#define NUMBER(n) number_##n,
static long (*const numbers[])(void) = {
#include "numbers.inc"
};
#define COUNT (sizeof(numbers) / sizeof(numbers[0]))

static void call(const char *what)
{
	char text[100];

	if (!strcmp(what, "integers")) {
		printf("%ld\n", integers(1, 2, 3, 4, 5, 6, 7, 8));
	} else if (!strcmp(what, "doubles")) {
		printf("%.1f\n", doubles(1, 2, 3, 4, 5, 6, 7, 8, 9));
	} else if (!strcmp(what, "quads")) {
		quad q = { 1, 2, 3, 4 };
		quad r = quads(q, q + 1, q + 2, q + 3, q + 4, q + 5, q + 6, q + 7);

		printf("%.0f %.0f %.0f %.0f\n", r[0], r[1], r[2], r[3]);
	} else if (!strcmp(what, "long_doubles")) {
		printf("%.2Lf\n", long_doubles(5.75L, 1.5L));
	} else if (!strcmp(what, "pair")) {
		struct pair p = pair(1, 2.5);

		printf("%ld %.1f\n", p.a, p.b);
	} else if (!strcmp(what, "big")) {
		struct big b = big(3);

		printf("%ld %ld\n", b.values[0], b.values[7]);
	} else if (!strcmp(what, "format")) {
		int length = format(text, sizeof(text), "%d %s %.2f %ld %c %d %d %.1f", 1, "two", 3.25,
				    4L, '5', 6, 7, 8.5);

		printf("%d %s\n", length, text);
	} else if (!strcmp(what, "errno")) {
		errno = 77;
		printf("%d\n", error_number());
	} else if (!strcmp(what, "address")) {
		printf("%d\n", own_address() == (void *)integers);
	} else if (!strcmp(what, "constructor")) {
		printf("%d\n", was_constructed());
	}
}

static pthread_barrier_t barrier;

static void *call_all(void *first)
{
	size_t wrong = 0;

	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < COUNT; i++) {
		size_t n = ((size_t)first + i) % COUNT;

		wrong += numbers[n]() != (long)n;
	}
	return (void *)wrong;
}

/* All threads make the first call of the library at the same time. */
static void call_from_threads(void)
{
	pthread_t threads[8];
	size_t wrong = 0;
	void *result;

	pthread_barrier_init(&barrier, NULL, 8);
	for (size_t i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, call_all, (void *)(i * COUNT / 8));
	for (size_t i = 0; i < 8; i++) {
		pthread_join(threads[i], &result);
		wrong += (size_t)result;
	}
	printf("%zu wrong\n", wrong);
}

static void show_maps(void)
{
	char line[500];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps))
		fputs(line, stdout);
	puts("end");
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "threads"))
			call_from_threads();
		else if (!strcmp(argv[i], "maps"))
			show_maps();
		else
			call(argv[i]);
		fflush(stdout);
	}
	return 0;
}
