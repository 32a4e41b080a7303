/* Mounts, and the switch from the initrd to the root. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define ROOT "/root"
#define DEVICE "/dev/mapper/root"
#define INIT "/usr/lib/systemd/systemd"
/* The writable half of /etc, mounted only until the overlay holds it. */
#define UPPER "/upper"

static void make_directory(const char *path, mode_t mode)
{
	if (mkdir(path, mode) != 0 && errno != EEXIST)
		fail("cannot make %s: %m", path);
}

static void mount_at(const char *source, const char *target, const char *type, unsigned long flags,
		     const char *data)
{
	if (mount(source, target, type, flags, data) != 0)
		fail("cannot mount %s on %s: %m", source, target);
}

void mount_kernel_filesystems(void)
{
	umask(022);
	make_directory("/dev", 0755);
	make_directory("/proc", 0555);
	make_directory("/sys", 0555);
	mount_at("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
	mount_at("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static void write_file(const char *path, const char *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, data, length) != (ssize_t)length || close(fd) != 0)
		fail("cannot write %s: %m", path);
}

/* systemd asks the firmware only if this file is empty. */
static void write_machine_id(const char *id)
{
	char text[ID_DIGITS + 2];

	if (!print_to(text, sizeof(text), "%s\n", id))
		fail("the machine id is too long");
	write_file(UPPER "/etc/machine-id", text, strlen(text));
}

/*
 * /etc is writable until the next start. Its upper half lives in a tmpfs of
 * its own, which is unmounted as soon as the overlay holds it: nobody can
 * reach it but through /etc.
 */
static void mount_etc(const struct slot *slot)
{
	make_directory(UPPER, 0700);
	mount_at("etc", UPPER, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700,size=32m");
	make_directory(UPPER "/etc", 0755);
	make_directory(UPPER "/work", 0700);
	if (slot->machine_id[0] != '\0' && !firmware_has_id())
		write_machine_id(slot->machine_id);
	mount_at("etc", ROOT "/etc", "overlay", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		 "lowerdir=" ROOT "/etc,upperdir=" UPPER "/etc,workdir=" UPPER "/work");
	if (umount2(UPPER, MNT_DETACH) != 0)
		fail("cannot detach %s: %m", UPPER);
}

/* sd-stub leaves the signed TPM policy of the UKI here; systemd looks for it in /run. */
static void keep_tpm_policy(void)
{
	static const char *const names[] = { "tpm2-pcr-signature.json", "tpm2-pcr-public-key.pem" };
	static char data[65536];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char from[64], to[64];
		ssize_t length;

		if (!print_to(from, sizeof(from), "/.extra/%s", names[i]) ||
		    !print_to(to, sizeof(to), "/run/systemd/%s", names[i]))
			continue;
		length = read_file(from, data, sizeof(data));
		if (length < 0)
			continue;
		make_directory("/run/systemd", 0755);
		write_file(to, data, (size_t)length);
	}
}

/* What the programs of the root want to know about where they come from. */
static void tell_slot(const struct slot *slot, const struct options *options)
{
	char text[512];

	if (!print_to(text, sizeof(text),
		      "{\"slot\": \"%c\", \"root_hash\": \"%s\", "
		      "\"root\": \"/dev/%s\", \"verity\": \"/dev/%s\"}\n",
		      slot->letter, options->root_hash_text, slot->root.name, slot->verity.name))
		fail("description of the slot is too long");
	make_directory("/run/bulkhead", 0755);
	write_file("/run/bulkhead/boot.json", text, strlen(text));
}

/*
 * What units of systemd would mount at each boot, with the same options: there each costs two
 * programs and a control group, here a system call. A unit finds its file system mounted and has
 * nothing to do; where one cannot be mounted here, its unit tries again and tells.
 */
static void mount_for_units(void)
{
	static const struct {
		const char *source, *target, *type, *data;
		unsigned long flags;
	} mounts[] = {
		{ "tmpfs", ROOT "/tmp", "tmpfs", "mode=1777,size=50%,nr_inodes=1m",
		  MS_NOSUID | MS_NODEV | MS_STRICTATIME },
		{ "hugetlbfs", "/dev/hugepages", "hugetlbfs", NULL, MS_NOSUID | MS_NODEV },
		{ "mqueue", "/dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "tracefs", "/sys/kernel/tracing", "tracefs", NULL,
		  MS_NOSUID | MS_NODEV | MS_NOEXEC },
	};

	make_directory("/dev/hugepages", 0755);
	make_directory("/dev/mqueue", 0755);
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
		if (mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags,
			  mounts[i].data) != 0)
			note("%s is left to its unit: %m", mounts[i].target);
}

void mount_root(const struct slot *slot, const struct options *options)
{
	static const char *const moved[] = { "/dev", "/proc", "/sys", "/run" };

	make_directory(ROOT, 0755);
	mount_at(DEVICE, ROOT, "erofs", MS_RDONLY | MS_NODEV | MS_NOSUID, NULL);
	mount_etc(slot);
	make_directory("/run", 0755);
	/* As systemd would mount it (src/shared/mount-setup.c). */
	mount_at("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV | MS_STRICTATIME,
		 "mode=0755,size=20%,nr_inodes=800k");
	keep_tpm_policy();
	tell_slot(slot, options);
	mount_for_units();
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		char target[64];

		if (!print_to(target, sizeof(target), ROOT "%s", moved[i]) ||
		    mount(moved[i], target, NULL, MS_MOVE, NULL) != 0)
			fail("cannot move %s into the root: %m", moved[i]);
	}
}

/* Delete everything in the directory that is on its own file system; closes `fd`. */
static void delete_content(int fd, dev_t device)
{
	DIR *directory = fdopendir(fd);
	const struct dirent *entry;
	struct stat status;

	if (!directory) {
		close(fd);
		return;
	}
	while ((entry = readdir(directory))) {
		int inner;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
		    status.st_dev != device)
			continue;
		if (S_ISDIR(status.st_mode)) {
			inner = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (inner >= 0)
				delete_content(inner, device);
		}
		unlinkat(fd, entry->d_name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0);
	}
	closedir(directory);
}

void switch_root(void)
{
	char *const arguments[] = { (char *)INIT, NULL };
	char *const environment[] = { NULL };
	struct stat status;
	int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (old < 0 || fstat(old, &status) != 0)
		fail("cannot open the initrd: %m");
	if (chdir(ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
	    chdir("/") != 0)
		fail("cannot switch to the root: %m");
	/* The initrd is memory until its files are gone. */
	delete_content(old, status.st_dev);
	execve(INIT, arguments, environment);
	fail("cannot start %s: %m", INIT);
}
