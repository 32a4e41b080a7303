/*
 * Which machine this is. systemd takes its machine id from the firmware's
 * UUID. A machine without one (a microVM, some boards) would get another id
 * at each start, and with it an empty journal and a new DHCP identity. The
 * first start puts the id into the name of the data partition, where it can be
 * read without mounting anything.
 */
#include <string.h>

#include "init.h"

#define PREFIX "data"

static bool is_hex(char digit)
{
	return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f');
}

static bool is_id(const char *text)
{
	size_t digits = 0;

	while (is_hex(text[digits]))
		digits++;
	return digits == ID_DIGITS && text[digits] == '\0' && is_unique(text);
}

void find_machine_id(const struct gpt *gpt, char id[ID_DIGITS + 1])
{
	id[0] = '\0';
	for (unsigned i = 0; i < gpt->count; i++) {
		const char *name = gpt->partitions[i].name;

		if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || !is_id(name + strlen(PREFIX)))
			continue;
		memcpy(id, name + strlen(PREFIX), ID_DIGITS + 1);
		return;
	}
}

bool is_unique(const char *uuid)
{
	size_t digits = 0, zeros = 0, ones = 0;

	for (; *uuid != '\0' && *uuid != '\n'; uuid++) {
		char digit = (char)(*uuid >= 'A' && *uuid <= 'F' ? *uuid - 'A' + 'a' : *uuid);

		if (digit == '-')
			continue;
		if (!is_hex(digit))
			return false;
		digits++;
		zeros += digit == '0';
		ones += digit == 'f';
	}
	return digits == ID_DIGITS && zeros != digits && ones != digits;
}

bool firmware_has_id(void)
{
	char text[64];

	return read_file("/sys/class/dmi/id/product_uuid", text, sizeof(text)) > 0 &&
	       is_unique(text);
}
