/*
 * Feeds files to the init's parsers and prints what they say, a line for each
 * file, for tests/integration/test_native.py. It is not part of any image.
 *
 *   parsers gpt BLOCK FILE…
 *   parsers superblock ROOT_BYTES VERITY_BYTES FILE…
 *   parsers cmdline FILE…
 *   parsers uuid FILE…
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define PAGE 4096

static void print_hex(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		printf("%02x", bytes[i]);
}

/* Copy `data` to the end of a page whose successor cannot be read: reading too far crashes. */
static const void *guarded(const void *data, size_t length)
{
	size_t pages = (length + PAGE - 1) / PAGE;
	char *at = mmap(NULL, (pages + 1) * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || mprotect(at + pages * PAGE, PAGE, PROT_NONE) != 0)
		abort();
	return memcpy(at + pages * PAGE - length, data, length);
}

static void try_gpt(const char *path, uint32_t block)
{
	static struct gpt gpt;
	char id[ID_DIGITS + 1];
	struct stat status;
	const char *wrong;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &status) != 0)
		abort();
	wrong = read_gpt(fd, (uint64_t)status.st_size, block, &gpt);
	close(fd);
	if (wrong) {
		printf("wrong: %s\n", wrong);
		return;
	}
	for (unsigned i = 0; i < gpt.count; i++) {
		const struct partition *partition = &gpt.partitions[i];

		printf("%u:%llu-%llu:", partition->number, (unsigned long long)partition->first,
		       (unsigned long long)partition->last);
		print_hex(partition->type, GUID_BYTES);
		putchar(':');
		print_hex(partition->id, GUID_BYTES);
		putchar(' ');
	}
	find_machine_id(&gpt, id);
	if (id[0] != '\0')
		printf("machine %s", id);
	putchar('\n');
}

static void try_superblock(const char *path, uint64_t root_bytes, uint64_t verity_bytes)
{
	const struct slot slot = { .root = { .major = 254, .minor = 2 },
				   .verity = { .major = 254, .minor = 3 } };
	uint8_t raw[SUPERBLOCK_BYTES] = { 0 };
	struct verity verity;
	char table[1024];
	const char *wrong;
	FILE *file = fopen(path, "rb");

	if (!file)
		abort();
	(void)!fread(raw, 1, sizeof(raw), file);
	fclose(file);
	wrong = parse_superblock(guarded(raw, sizeof(raw)), root_bytes, verity_bytes, &verity);
	if (wrong)
		printf("wrong: %s\n", wrong);
	else if (!verity_table(&slot, &verity, "ROOTHASH", table, sizeof(table)))
		printf("wrong: table\n");
	else
		printf("%s\n", table);
}

static void try_cmdline(const char *path)
{
	static char line[8192];
	struct options options;
	const char *wrong;
	ssize_t length = read_file(path, line, sizeof(line));

	if (length < 0)
		abort();
	wrong = parse_cmdline(guarded(line, (size_t)length + 1), &options);
	printf("%s panic=%s%d %s\n", options.has_root_hash ? options.root_hash_text : "-",
	       options.has_panic ? "" : "default", options.panic, wrong ? wrong : "good");
}

static void try_uuid(const char *path)
{
	static char text[64];
	ssize_t length = read_file(path, text, sizeof(text));

	printf("%s\n", length >= 0 && is_unique(guarded(text, (size_t)length + 1)) ? "unique" : "no");
}

int main(int argc, char **argv)
{
	if (argc > 3 && strcmp(argv[1], "gpt") == 0)
		for (int i = 3; i < argc; i++)
			try_gpt(argv[i], (uint32_t)strtoul(argv[2], NULL, 10));
	else if (argc > 4 && strcmp(argv[1], "superblock") == 0)
		for (int i = 4; i < argc; i++)
			try_superblock(argv[i], strtoull(argv[2], NULL, 10),
				       strtoull(argv[3], NULL, 10));
	else if (argc > 2 && strcmp(argv[1], "cmdline") == 0)
		for (int i = 2; i < argc; i++)
			try_cmdline(argv[i]);
	else if (argc > 2 && strcmp(argv[1], "uuid") == 0)
		for (int i = 2; i < argc; i++)
			try_uuid(argv[i]);
	else
		return 2;
	return 0;
}
