/* A library for tests of native/lazyload: each function says what arrived. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

typedef float quad __attribute__((vector_size(16)));

struct pair {
	long a;
	double b;
};

struct big {
	long values[8];
};

static int constructed;

long integers(long a, long b, long c, long d, long e, long f, long g, long h)
{
	return a + 10 * (b + 10 * (c + 10 * (d + 10 * (e + 10 * (f + 10 * (g + 10 * h))))));
}

double doubles(double a, double b, double c, double d, double e, double f, double g, double h,
	       double i)
{
	return a + 10 * (b + 10 * (c + 10 * (d + 10 * (e + 10 * (f + 10 * (g + 10 * (h + 10 * i)))))));
}

quad quads(quad a, quad b, quad c, quad d, quad e, quad f, quad g, quad h)
{
	return a + 2 * (b + 2 * (c + 2 * (d + 2 * (e + 2 * (f + 2 * (g + 2 * h))))));
}

long double long_doubles(long double a, long double b)
{
	return a - b;
}

struct pair pair(long a, double b)
{
	return (struct pair){ a + 1, b + 1 };
}

struct big big(long first)
{
	struct big result;

	for (long i = 0; i < 8; i++)
		result.values[i] = first + i;
	return result;
}

int format(char *text, size_t size, const char *how, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, how);
	length = vsnprintf(text, size, how, arguments);
	va_end(arguments);
	return length;
}

int error_number(void)
{
	return errno;
}

/* The address that the library itself knows a function of its own by. */
void *own_address(void)
{
	return (void *)integers;
}

int was_constructed(void)
{
	return constructed;
}

int set_constructed(int value)
{
	constructed = value;
	return value;
}

/* Calls an exported function of its own while it is being loaded. */
__attribute__((constructor)) static void construct(void)
{
	set_constructed(42);
}

#define NUMBER(n) long number_##n(void) { return n; }
#include "numbers.inc"
