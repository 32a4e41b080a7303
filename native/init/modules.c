/*
 * Kernel modules. /modules/load names those that every machine needs;
 * /modules/alias has one line for each alias of a disk driver: a pattern and
 * the modules to load, in order, when a device's modalias matches it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define MAX_MODALIAS 1024

#define MAX_ALIASES 1024

struct alias {
	const char *pattern;
	char *modules; /* names, separated by blanks; NULL once they are loaded */
};

static struct alias aliases[MAX_ALIASES];
static size_t alias_count;

static void load_module(const char *name)
{
	char path[128];
	int fd;

	if (!print_to(path, sizeof(path), "/modules/%s.ko", name)) {
		note("module name %.64s… is too long", name);
		return;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		note("cannot open %s: %m", path);
		return;
	}
	/* EEXIST: loaded already. ENODEV: this CPU or machine has no use for it. */
	if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST && errno != ENODEV)
		note("cannot load module %s: %m", name);
	close(fd);
}

void load_modules(void)
{
	static char names[4096];
	char *rest, *name;

	if (read_file("/modules/load", names, sizeof(names)) < 0) {
		note("cannot read /modules/load: %m");
		return;
	}
	for (name = strtok_r(names, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest))
		load_module(name);
}

static void read_aliases(void)
{
	static char text[65536];
	char *rest, *line;

	if (read_file("/modules/alias", text, sizeof(text)) < 0) {
		note("cannot read /modules/alias: %m");
		return;
	}
	for (line = strtok_r(text, "\n", &rest); line && alias_count < MAX_ALIASES;
	     line = strtok_r(NULL, "\n", &rest)) {
		char *blank = strchr(line, ' ');

		if (!blank)
			continue;
		*blank = '\0';
		aliases[alias_count++] = (struct alias){ .pattern = line, .modules = blank + 1 };
	}
}

static void load_for_alias(const char *modalias)
{
	for (size_t i = 0; i < alias_count; i++) {
		char *names = aliases[i].modules, *rest, *name;

		if (!names || fnmatch(aliases[i].pattern, modalias, 0) != 0)
			continue;
		for (name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
			load_module(name);
		aliases[i].modules = NULL;
	}
}

static void load_for_bus(const char *bus)
{
	char path[512], modalias[MAX_MODALIAS];
	const struct dirent *entry;
	DIR *devices;

	if (!print_to(path, sizeof(path), "/sys/bus/%s/devices", bus))
		return;
	devices = opendir(path);
	if (!devices)
		return;
	while ((entry = readdir(devices))) {
		ssize_t length;

		if (entry->d_name[0] == '.' ||
		    !print_to(path, sizeof(path), "/sys/bus/%s/devices/%s/modalias", bus,
			      entry->d_name))
			continue;
		length = read_file(path, modalias, sizeof(modalias));
		if (length <= 0)
			continue;
		if (modalias[length - 1] == '\n')
			modalias[length - 1] = '\0';
		load_for_alias(modalias);
	}
	closedir(devices);
}

void load_modules_for_devices(void)
{
	const struct dirent *entry;
	DIR *buses;

	if (!alias_count)
		read_aliases();
	buses = opendir("/sys/bus");
	if (!buses)
		return;
	while ((entry = readdir(buses)))
		if (entry->d_name[0] != '.')
			load_for_bus(entry->d_name);
	closedir(buses);
}
