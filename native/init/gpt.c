/*
 * GUID partition table (UEFI 2.10, chapter 5). The bytes come from a disk that
 * anybody may have written, so every field is checked before it is used.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

#define HEADER_BYTES 92
#define ENTRY_BYTES 128
/* What partitioning programs make is 128 entries of 128 bytes. */
#define MAX_TABLE_BYTES (1024 * ENTRY_BYTES)
#define MAX_BLOCK 4096

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static uint64_t get64(const uint8_t *at)
{
	return (uint64_t)get32(at) | (uint64_t)get32(at + 4) << 32;
}

/* CRC-32 as Ethernet and zlib have it. `seed` is an earlier result, or 0. */
static uint32_t crc32(uint32_t seed, const uint8_t *data, size_t length)
{
	uint32_t crc = ~seed;

	while (length--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static bool read_at(int fd, uint8_t *buffer, size_t length, uint64_t offset)
{
	while (length > 0) {
		ssize_t got = pread(fd, buffer, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		buffer += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return true;
}

struct header {
	uint64_t first_usable, last_usable;
	uint64_t table; /* its first block */
	uint32_t entries, entry_bytes;
	uint32_t table_crc;
};

static const char *parse_header(const uint8_t *raw, uint64_t at, uint64_t blocks, uint32_t block,
				struct header *header)
{
	static const uint8_t zeros[4];
	uint32_t length = get32(raw + 12), crc;

	if (memcmp(raw, "EFI PART", 8) != 0)
		return "no GPT";
	if (length < HEADER_BYTES || length > block)
		return "GPT header: impossible length";
	/* The checksum is made with its own field at zero. */
	crc = crc32(0, raw, 16);
	crc = crc32(crc, zeros, sizeof(zeros));
	crc = crc32(crc, raw + 20, length - 20);
	if (crc != get32(raw + 16))
		return "GPT header: wrong checksum";
	if (get64(raw + 24) != at)
		return "GPT header: belongs to another block";
	header->first_usable = get64(raw + 40);
	header->last_usable = get64(raw + 48);
	header->table = get64(raw + 72);
	header->entries = get32(raw + 80);
	header->entry_bytes = get32(raw + 84);
	header->table_crc = get32(raw + 88);
	if (header->first_usable > header->last_usable || header->last_usable >= blocks)
		return "GPT header: usable blocks are outside the disk";
	if (header->entry_bytes < ENTRY_BYTES || header->entry_bytes % ENTRY_BYTES != 0 ||
	    header->entries == 0 || header->entries > MAX_TABLE_BYTES / header->entry_bytes)
		return "GPT header: impossible number or size of entries";
	if (header->table < 2 || header->table >= blocks ||
	    (uint64_t)header->entries * header->entry_bytes > (blocks - header->table) * block)
		return "GPT header: the table is outside the disk";
	return NULL;
}

/* On disk the first three fields of a GUID are little-endian numbers; in text they are not. */
static void copy_guid(uint8_t *to, const uint8_t *from)
{
	static const uint8_t order[GUID_BYTES] = { 3, 2, 1, 0, 5, 4, 7, 6,
						   8, 9, 10, 11, 12, 13, 14, 15 };

	for (size_t i = 0; i < GUID_BYTES; i++)
		to[i] = from[order[i]];
}

/* UTF-16, little-endian, ended by a NUL or by the end of the field. */
static void copy_name(char *to, const uint8_t *from)
{
	for (size_t i = 0; i < NAME_UNITS && (from[2 * i] || from[2 * i + 1]); i++)
		*to++ = (char)(from[2 * i + 1] || from[2 * i] > 0x7e ? '?' : from[2 * i]);
	*to = '\0';
}

static const char *parse_table(const uint8_t *table, const struct header *header, struct gpt *gpt)
{
	static const uint8_t unused[GUID_BYTES];

	gpt->count = 0;
	for (uint32_t i = 0; i < header->entries; i++) {
		const uint8_t *raw = table + (size_t)i * header->entry_bytes;
		struct partition *partition = &gpt->partitions[gpt->count];

		if (memcmp(raw, unused, GUID_BYTES) == 0)
			continue;
		if (gpt->count == MAX_PARTITIONS)
			return "GPT: more than 128 partitions";
		copy_guid(partition->type, raw);
		copy_guid(partition->id, raw + 16);
		partition->first = get64(raw + 32);
		partition->last = get64(raw + 40);
		partition->number = i + 1;
		copy_name(partition->name, raw + 56);
		if (partition->first < header->first_usable || partition->first > partition->last ||
		    partition->last > header->last_usable)
			return "GPT: a partition is outside the usable blocks";
		gpt->count++;
	}
	return NULL;
}

static const char *read_copy(int fd, uint64_t at, uint64_t blocks, uint32_t block, struct gpt *gpt)
{
	static uint8_t raw[MAX_BLOCK], table[MAX_TABLE_BYTES];
	struct header header;
	const char *wrong;
	size_t length;

	if (!read_at(fd, raw, block, at * block))
		return "cannot read the GPT header";
	wrong = parse_header(raw, at, blocks, block, &header);
	if (wrong)
		return wrong;
	length = (size_t)header.entries * header.entry_bytes;
	if (!read_at(fd, table, length, header.table * block))
		return "cannot read the GPT";
	if (crc32(0, table, length) != header.table_crc)
		return "GPT: wrong checksum";
	return parse_table(table, &header, gpt);
}

const char *read_gpt(int fd, uint64_t bytes, uint32_t block, struct gpt *gpt)
{
	uint64_t blocks;
	const char *wrong;

	if (block < 512 || block > MAX_BLOCK || (block & (block - 1)) != 0)
		return "unknown size of blocks";
	blocks = bytes / block;
	/* Protective MBR, header and table twice. */
	if (blocks < 6)
		return "too small for a GPT";
	wrong = read_copy(fd, 1, blocks, block, gpt);
	if (wrong && !read_copy(fd, blocks - 1, blocks, block, gpt))
		wrong = NULL;
	return wrong;
}
