/* The order of the steps, and what happens when one fails. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "init.h"

#define SECONDS_TO_READ 5

static struct options options;

static void write_kernel_log(const char *text)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, text, strlen(text));
	close(fd);
}

void note(const char *format, ...)
{
	char text[512] = "<6>bulkhead-init: ";
	size_t used = strlen(text);
	va_list values;

	va_start(values, format);
	vsnprintf(text + used, sizeof(text) - used, format, values);
	va_end(values);
	write_kernel_log(text);
}

void fail(const char *format, ...)
{
	char text[512];
	int seconds = options.has_panic ? options.panic : SECONDS_TO_READ;
	va_list values;

	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	note("failed: %s", text);
	dprintf(STDERR_FILENO, "bulkhead-init: cannot start this slot: %s\n", text);
	dprintf(STDERR_FILENO, "bulkhead-init: rebooting in %d s\n", seconds);
	sync();
	while (seconds > 0)
		seconds = (int)sleep((unsigned)seconds);
	reboot(RB_AUTOBOOT);
	/* Not reached; ending as PID 1 makes the kernel panic, which reboots too. */
	_exit(1);
}

/* A crash of PID 1 is a kernel panic, and by default the kernel then waits for a person. */
static void reboot_on_panic(void)
{
	int fd;

	if (options.has_panic)
		return;
	fd = open("/proc/sys/kernel/panic", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, "10", 2);
		close(fd);
	}
}

static void read_options(void)
{
	static char line[8192];
	const char *wrong;

	if (read_file("/proc/cmdline", line, sizeof(line)) < 0)
		fail("cannot read /proc/cmdline: %m");
	wrong = parse_cmdline(line, &options);
	reboot_on_panic();
	if (wrong)
		fail("kernel command line: %s", wrong);
	if (!options.has_root_hash)
		fail("kernel command line: roothash= is missing");
}

int main(void)
{
	struct slot slot;

	mount_kernel_filesystems();
	read_options();
	load_modules();
	find_slot(options.root_hash, &slot);
	map_root(&slot, &options);
	note("slot %c, root %s, verity %s", slot.letter, slot.root.name, slot.verity.name);
	mount_root(&slot, &options);
	switch_root();
}
