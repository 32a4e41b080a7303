/*
 * Loads the real library at the first call of one of its functions.
 *
 * There is no lock here. dlopen(3) has one, which a constructor of the library
 * may enter again by a call of a function of its own; a second lock around it
 * could be taken in the other order by two threads. One thread fills the table;
 * the others find what they call by themselves meanwhile.
 *
 * Built with SONAME, the library's name, and REAL, the path where it is.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HIDDEN __attribute__((visibility("hidden")))

/* Of enter.S: addresses and names, by number. An empty name ends the names. */
extern _Atomic(void *) lazyload_functions[] HIDDEN;
extern char lazyload_functions_end[] HIDDEN;
extern const char lazyload_names[] HIDDEN;

HIDDEN void *lazyload_find(unsigned int number);

/* Whoever called cannot go on without the library, and must not go on with less. */
static _Noreturn void give_up(const char *name, const char *why)
{
	dprintf(STDERR_FILENO, "%s: cannot call %s of %s: %s\n", SONAME, name, REAL, why);
	abort();
}

static const char *name_of(unsigned int number)
{
	const char *name = lazyload_names;

	while (number-- > 0)
		name += strlen(name) + 1;
	return name;
}

/* The table is never writable but here: who can write to it decides what is called. */
static void fill(void *library)
{
	size_t size = (size_t)(lazyload_functions_end - (char *)lazyload_functions);
	_Atomic(void *) *function = lazyload_functions;

	if (mprotect(lazyload_functions, size, PROT_READ | PROT_WRITE) != 0)
		give_up(lazyload_names, strerror(errno));
	for (const char *name = lazyload_names; *name; name += strlen(name) + 1)
		atomic_store_explicit(function++, dlsym(library, name), memory_order_release);
	if (mprotect(lazyload_functions, size, PROT_READ) != 0)
		give_up(lazyload_names, strerror(errno));
}

/* Return the address of a function, or do not return. errno stays as the caller left it. */
void *lazyload_find(unsigned int number)
{
	static atomic_flag taken = ATOMIC_FLAG_INIT;
	int before = errno;
	const char *name = name_of(number);
	void *library = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
	void *function;

	if (!library)
		give_up(name, dlerror());
	function = dlsym(library, name);
	if (!function)
		give_up(name, dlerror());
	if (!atomic_flag_test_and_set(&taken))
		fill(library);
	errno = before;
	return function;
}
