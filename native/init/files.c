/* Small files and strings. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "init.h"

ssize_t read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;

	if (fd < 0)
		return -1;
	for (;;) {
		ssize_t got = read(fd, buffer + used, size - 1 - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 || (got > 0 && used + (size_t)got == size - 1)) {
			/* A file that fills the buffer may have been cut. */
			if (got > 0)
				errno = EFBIG;
			close(fd);
			return -1;
		}
		if (got == 0)
			break;
		used += (size_t)got;
	}
	close(fd);
	buffer[used] = '\0';
	return (ssize_t)used;
}

bool read_number(const char *path, uint64_t *number)
{
	char text[32], *end;

	if (read_file(path, text, sizeof(text)) <= 0 || text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && (*end == '\n' || *end == '\0');
}

bool print_to(char *buffer, size_t size, const char *format, ...)
{
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(buffer, size, format, values);
	va_end(values);
	return length >= 0 && (size_t)length < size;
}
