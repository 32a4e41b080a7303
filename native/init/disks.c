/*
 * Finding the slot. sysfs has no partition UUIDs, so the partition table of
 * every disk is read. The UUIDs follow from the root hash (Discoverable
 * Partitions Specification): root is its first half, verity its second.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

/* Some controllers take their time: a SATA link alone may need 10 s. */
#define WAIT_SECONDS 30
#define POLL_NANOSECONDS 10000000L
#define SECTOR 512 /* unit of sysfs, whatever the disk's blocks are */

static const char *last_problem = "no disk";

/* Describe the partition as the kernel knows it; false while it does not, or knows another one. */
static bool find_device(const char *disk, const struct partition *partition, uint32_t block,
			struct device *device)
{
	uint64_t number, start, sectors;
	char path[256], text[32], *end;
	const struct dirent *entry;
	bool found = false;
	DIR *parts;

	if (!print_to(path, sizeof(path), "/sys/block/%s", disk))
		return false;
	parts = opendir(path);
	if (!parts)
		return false;
	while (!found && (entry = readdir(parts))) {
		if (strncmp(entry->d_name, disk, strlen(disk)) != 0 ||
		    !print_to(path, sizeof(path), "/sys/block/%s/%s/partition", disk,
			      entry->d_name) ||
		    !read_number(path, &number) || number != partition->number)
			continue;
		found = print_to(device->name, sizeof(device->name), "%s", entry->d_name);
	}
	closedir(parts);
	if (!found)
		return false;
	if (!print_to(path, sizeof(path), "/sys/class/block/%s/start", device->name) ||
	    !read_number(path, &start) ||
	    !print_to(path, sizeof(path), "/sys/class/block/%s/size", device->name) ||
	    !read_number(path, &sectors) ||
	    !print_to(path, sizeof(path), "/sys/class/block/%s/dev", device->name) ||
	    read_file(path, text, sizeof(text)) <= 0)
		return false;
	device->major = (unsigned)strtoul(text, &end, 10);
	if (*end != ':')
		return false;
	device->minor = (unsigned)strtoul(end + 1, NULL, 10);
	device->bytes = sectors * SECTOR;
	return start == partition->first * (block / SECTOR) &&
	       device->bytes == (partition->last - partition->first + 1) * block;
}

static const struct partition *find_partition(const struct gpt *gpt, const uint8_t *id)
{
	for (unsigned i = 0; i < gpt->count; i++)
		if (memcmp(gpt->partitions[i].id, id, GUID_BYTES) == 0)
			return &gpt->partitions[i];
	return NULL;
}

/* Slots are counted in the order of the table; all root partitions have one type. */
static char slot_letter(const struct gpt *gpt, const struct partition *root)
{
	char letter = 'a';

	for (const struct partition *other = gpt->partitions; other != root; other++)
		if (memcmp(other->type, root->type, GUID_BYTES) == 0)
			letter++;
	return letter <= 'z' ? letter : '?';
}

static int ask_disk(int fd, unsigned long what, void *answer)
{
	return ioctl(fd, (int)what, answer); /* musl's request is an int, as POSIX has it */
}

static bool find_on_disk(const char *disk, const uint8_t *root_hash, struct slot *slot)
{
	static struct gpt gpt;
	const struct partition *root, *verity;
	const char *wrong;
	uint64_t bytes;
	char path[256];
	int fd, block;

	if (!print_to(path, sizeof(path), "/dev/%s", disk))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (ask_disk(fd, BLKGETSIZE64, &bytes) != 0 || ask_disk(fd, BLKSSZGET, &block) != 0)
		wrong = "cannot ask for its size";
	else
		wrong = read_gpt(fd, bytes, (uint32_t)block, &gpt);
	close(fd);
	if (wrong) {
		last_problem = wrong;
		return false;
	}
	root = find_partition(&gpt, root_hash);
	verity = find_partition(&gpt, root_hash + GUID_BYTES);
	if (!root || !verity) {
		last_problem = root	? "the verity partition is missing" :
			       verity	? "the root partition is missing" :
					  "no disk has partitions of this root hash";
		return false;
	}
	slot->letter = slot_letter(&gpt, root);
	find_machine_id(&gpt, slot->machine_id);
	last_problem = "the kernel does not know the partitions that the GPT has";
	return find_device(disk, root, (uint32_t)block, &slot->root) &&
	       find_device(disk, verity, (uint32_t)block, &slot->verity);
}

static bool find_on_any_disk(const uint8_t *root_hash, struct slot *slot)
{
	struct dirent **entries;
	int count = scandir("/sys/block", &entries, NULL, alphasort);
	bool found = false;

	/* In order of names: the same disk wins at every start where one is a copy of another. */
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (!found && name[0] != '.')
			found = find_on_disk(name, root_hash, slot);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return found;
}

void find_slot(const uint8_t root_hash[HASH_BYTES], struct slot *slot)
{
	const struct timespec pause = { .tv_nsec = POLL_NANOSECONDS };
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	/*
	 * Look before drivers are loaded for other controllers: a machine that
	 * starts from virtio or NVMe need not wait for its empty SATA ports.
	 */
	while (!find_on_any_disk(root_hash, slot)) {
		load_modules_for_devices();
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec >= WAIT_SECONDS)
			fail("the root of this image was not found in %d s: %s", WAIT_SECONDS,
			     last_problem);
		nanosleep(&pause, NULL);
	}
}
