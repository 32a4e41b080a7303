/* The device mapper's ioctls (linux/dm-ioctl.h), as far as one verity device needs them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "init.h"

#define CONTROL "/dev/mapper/control"
#define CONTROL_MAJOR 10
#define CONTROL_MINOR 236
#define NAME "root"
#define SECTOR 512

struct request {
	struct dm_ioctl header;
	struct dm_target_spec target;
	char table[2048];
};

static void ask(int control, unsigned long command, struct request *request, unsigned flags,
		const char *what)
{
	request->header.version[0] = DM_VERSION_MAJOR;
	request->header.data_size = sizeof(*request);
	request->header.data_start = offsetof(struct request, target);
	request->header.flags = flags;
	strcpy(request->header.name, NAME);
	/* musl's request is an int, as POSIX has it. */
	if (ioctl(control, (int)command, request) != 0)
		fail("cannot %s the verity device: %m", what);
}

static int open_control(void)
{
	int control;

	if (mkdir("/dev/mapper", 0755) != 0 && errno != EEXIST)
		fail("cannot make /dev/mapper: %m");
	/* devtmpfs has it a moment after the module was loaded. */
	if (mknod(CONTROL, S_IFCHR | 0600, makedev(CONTROL_MAJOR, CONTROL_MINOR)) != 0 &&
	    errno != EEXIST)
		fail("cannot make %s: %m", CONTROL);
	control = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (control < 0)
		fail("cannot open %s: %m", CONTROL);
	return control;
}

static void read_superblock(const struct slot *slot, struct verity *verity)
{
	uint8_t raw[SUPERBLOCK_BYTES];
	const char *wrong;
	char path[128];
	int fd;

	if (!print_to(path, sizeof(path), "/dev/%s", slot->verity.name))
		fail("name of the verity partition is too long");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("cannot open %s: %m", path);
	if (read(fd, raw, sizeof(raw)) != (ssize_t)sizeof(raw))
		fail("cannot read the verity superblock of %s: %m", path);
	close(fd);
	wrong = parse_superblock(raw, slot->root.bytes, slot->verity.bytes, verity);
	if (wrong)
		fail("%s: %s", path, wrong);
}

/* The name under which cmdline, systemd and people expect the root; udev makes the same link. */
static void name_device(uint64_t device)
{
	char target[32];

	if (!print_to(target, sizeof(target), "../dm-%u", minor((dev_t)device)) ||
	    (symlink(target, "/dev/mapper/" NAME) != 0 && errno != EEXIST))
		fail("cannot make /dev/mapper/%s: %m", NAME);
}

void map_root(const struct slot *slot, const struct options *options)
{
	static struct request request;
	struct verity verity;
	int control;

	read_superblock(slot, &verity);
	control = open_control();
	/* systemd and veritysetup recognise a verity root by this prefix. */
	if (!print_to(request.header.uuid, sizeof(request.header.uuid), "CRYPT-VERITY-%.32s-%s",
		      options->root_hash_text, NAME))
		fail("UUID of the verity device is too long");
	ask(control, DM_DEV_CREATE, &request, 0, "create");
	memset(&request, 0, sizeof(request));
	request.header.target_count = 1;
	request.target.length = verity.data_blocks * (BLOCK_BYTES / SECTOR);
	strcpy(request.target.target_type, "verity");
	if (!verity_table(slot, &verity, options->root_hash_text, request.table,
			  sizeof(request.table)))
		fail("parameters of the verity device are too long");
	ask(control, DM_TABLE_LOAD, &request, DM_READONLY_FLAG, "load the table of");
	memset(&request, 0, sizeof(request));
	ask(control, DM_DEV_SUSPEND, &request, 0, "start");
	name_device(request.header.dev);
	close(control);
}
