/*
 * The initrd's only program. It maps the verity-protected root that the kernel
 * command line names, mounts it and becomes its systemd.
 *
 * Invariants:
 *  - Nothing that was not verified against the root hash is ever executed.
 *  - Every failure ends in a reboot, so that the boot loader's counter decides
 *    what comes next. There is no shell and no prompt.
 *
 * main.c     order of the steps, failure
 * files.c    small files of sysfs and the initrd
 * cmdline.c  kernel command line
 * modules.c  kernel modules, always and by modalias
 * gpt.c      partition table, parsing only
 * disks.c    finds the two partitions
 * identity.c which machine this is, where the firmware does not say
 * verity.c   superblock, parsing only
 * dm.c       device mapper
 * root.c     mounts and the switch to the root
 */
#ifndef BULKHEAD_INIT_H
#define BULKHEAD_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HASH_BYTES 32
#define HASH_DIGITS (2 * HASH_BYTES)
#define GUID_BYTES 16
#define BLOCK_BYTES 4096
#define ID_DIGITS 32 /* of a machine id, see machine-id(5) */

/* ---- main.c ---- */

/* Print what failed, wait for as long as panic= says, and reboot. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Print to the kernel log, at info level. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- files.c ---- */

/* Read a small file whole; returns the length, without the terminating NUL that is added, or -1. */
ssize_t read_file(const char *path, char *buffer, size_t size);
/* Read a number from a small file of sysfs; false if there is none. */
bool read_number(const char *path, uint64_t *number);
/* snprintf() that answers false instead of cutting. */
bool print_to(char *buffer, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- cmdline.c ---- */

struct options {
	uint8_t root_hash[HASH_BYTES];
	char root_hash_text[HASH_DIGITS + 1];
	bool has_root_hash;
	/* Seconds until a reboot after a failure: panic=, where it is given and positive. */
	int panic;
	bool has_panic;
};

/*
 * Parse the kernel command line as the kernel does (words, double quotes).
 * Returns NULL, or what is wrong with it.
 */
const char *parse_cmdline(const char *line, struct options *options);

/* ---- modules.c ---- */

/* Load what /modules/load lists, in its order. A module that fails is noted: others may do. */
void load_modules(void);
/* Load what /modules/alias has for the devices that are there now. */
void load_modules_for_devices(void);

/* ---- gpt.c ---- */

#define NAME_UNITS 36

/* A partition that uses at least one block. GUIDs are in the order in which they are written as text. */
struct partition {
	uint8_t type[GUID_BYTES];
	uint8_t id[GUID_BYTES];
	uint64_t first; /* logical blocks */
	uint64_t last;
	unsigned number; /* from 1, as the kernel counts */
	char name[NAME_UNITS + 1]; /* with '?' for what is not ASCII */
};

#define MAX_PARTITIONS 128

struct gpt {
	unsigned count;
	struct partition partitions[MAX_PARTITIONS];
};

/*
 * Read the partition table of the open disk (or file) `fd`: the primary one,
 * or the backup in the last block where the primary is damaged. The kernel
 * does the same if its command line has "gpt".
 * Returns NULL, or why there is none.
 */
const char *read_gpt(int fd, uint64_t bytes, uint32_t block, struct gpt *gpt);

/* ---- disks.c ---- */

struct device {
	char name[64]; /* as in /dev and /sys/class/block */
	unsigned major, minor;
	uint64_t bytes;
};

struct slot {
	struct device root;
	struct device verity;
	char letter; /* 'a' for the first root partition of the disk, 'b' for the second, … */
	char machine_id[ID_DIGITS + 1]; /* that the disk remembers; may be empty */
};

/* Wait for the two partitions that belong to the root hash, on one disk. Fails after a time. */
void find_slot(const uint8_t root_hash[HASH_BYTES], struct slot *slot);

/* ---- identity.c ---- */

/*
 * Copy the machine id that the first start left in the data partition's name
 * (repart.d/50-data.conf); an empty text if there is none.
 */
void find_machine_id(const struct gpt *gpt, char id[ID_DIGITS + 1]);
/* Whether the text is a UUID that can tell machines apart, as systemd sees it. */
bool is_unique(const char *uuid);
/* Whether systemd will get the machine id from the firmware. */
bool firmware_has_id(void);

/* ---- verity.c ---- */

struct verity {
	uint64_t data_blocks;
	uint16_t salt_bytes;
	uint8_t salt[256];
};

#define SUPERBLOCK_BYTES 512

/*
 * Parse the superblock at the start of the verity partition. It is not covered
 * by the root hash, but every wrong value in it makes the tree not match.
 * Returns NULL, or what is wrong with it.
 */
const char *parse_superblock(const uint8_t raw[SUPERBLOCK_BYTES], uint64_t root_bytes,
			     uint64_t verity_bytes, struct verity *verity);
/* Write the target's parameters (Documentation/admin-guide/device-mapper/verity.rst). */
bool verity_table(const struct slot *slot, const struct verity *verity, const char *root_hash,
		  char *table, size_t size);

/* ---- dm.c ---- */

/* Make the read-only verity device /dev/mapper/root. */
void map_root(const struct slot *slot, const struct options *options);

/* ---- root.c ---- */

/* Mount devtmpfs, proc and sysfs. */
void mount_kernel_filesystems(void);
/* Mount the mapped root, /run and the overlay on /etc; tell the root which slot it is. */
void mount_root(const struct slot *slot, const struct options *options);
/* Delete the initrd's files, make the root `/` and become its init. */
_Noreturn void switch_root(void);

#endif
