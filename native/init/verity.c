/* The superblock of dm-verity (cryptsetup's "Verity" on-disk format, version 1). */
#include <string.h>

#include "init.h"

/* Offsets in the superblock. */
enum {
	VERSION = 8,
	HASH_TYPE = 12,
	ALGORITHM = 32,
	DATA_BLOCK = 64,
	HASH_BLOCK = 68,
	DATA_BLOCKS = 72,
	SALT_BYTES = 80,
	SALT = 88,
};

#define HASHES_IN_BLOCK (BLOCK_BYTES / HASH_BYTES)

static uint64_t get(const uint8_t *at, unsigned bytes)
{
	uint64_t number = 0;

	while (bytes--)
		number = number << 8 | at[bytes];
	return number;
}

/* Blocks of the hash tree, without the superblock's. */
static uint64_t tree_blocks(uint64_t data_blocks)
{
	uint64_t level = data_blocks, total = 0;

	do {
		level = (level + HASHES_IN_BLOCK - 1) / HASHES_IN_BLOCK;
		total += level;
	} while (level > 1);
	return total;
}

const char *parse_superblock(const uint8_t raw[SUPERBLOCK_BYTES], uint64_t root_bytes,
			     uint64_t verity_bytes, struct verity *verity)
{
	static const char algorithm[32] = "sha256";

	if (memcmp(raw, "verity\0\0", 8) != 0)
		return "no verity superblock";
	if (get(raw + VERSION, 4) != 1 || get(raw + HASH_TYPE, 4) != 1)
		return "unknown version of verity";
	if (memcmp(raw + ALGORITHM, algorithm, sizeof(algorithm)) != 0)
		return "verity with another hash than sha256";
	if (get(raw + DATA_BLOCK, 4) != BLOCK_BYTES || get(raw + HASH_BLOCK, 4) != BLOCK_BYTES)
		return "verity with blocks of another size than 4096";
	verity->data_blocks = get(raw + DATA_BLOCKS, 8);
	if (verity->data_blocks == 0 || verity->data_blocks > root_bytes / BLOCK_BYTES)
		return "verity covers more than the root partition has";
	if (tree_blocks(verity->data_blocks) >= verity_bytes / BLOCK_BYTES)
		return "the hash tree does not fit into the verity partition";
	verity->salt_bytes = (uint16_t)get(raw + SALT_BYTES, 2);
	if (verity->salt_bytes > sizeof(verity->salt))
		return "the salt of verity is too long";
	memcpy(verity->salt, raw + SALT, verity->salt_bytes);
	return NULL;
}

bool verity_table(const struct slot *slot, const struct verity *verity, const char *root_hash,
		  char *table, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	char salt[2 * sizeof(verity->salt) + 1] = "-";

	for (size_t i = 0; i < verity->salt_bytes; i++) {
		salt[2 * i] = digits[verity->salt[i] >> 4];
		salt[2 * i + 1] = digits[verity->salt[i] & 15];
		salt[2 * i + 2] = '\0';
	}
	/* The tree begins in the block after the superblock. A bad block restarts the machine:
	 * the loader's counter then goes back to the other slot. */
	return print_to(table, size, "1 %u:%u %u:%u %d %d %llu 1 sha256 %s %s 1 restart_on_corruption",
			slot->root.major, slot->root.minor, slot->verity.major, slot->verity.minor,
			BLOCK_BYTES, BLOCK_BYTES, (unsigned long long)verity->data_blocks,
			root_hash, salt);
}
