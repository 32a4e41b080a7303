/* The kernel command line: words, split at blanks outside double quotes. */
#include <stdlib.h>
#include <string.h>

#include "init.h"

#define MAX_PANIC_SECONDS 3600

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static const char *parse_root_hash(const char *value, size_t length, struct options *options)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t hash[HASH_BYTES];

	if (length != HASH_DIGITS)
		return "roothash= needs 64 hexadecimal digits";
	for (size_t i = 0; i < HASH_BYTES; i++) {
		int high = digit(value[2 * i]), low = digit(value[2 * i + 1]);

		if (high < 0 || low < 0)
			return "roothash= needs 64 hexadecimal digits";
		hash[i] = (uint8_t)(high << 4 | low);
	}
	/* Something that may append to the line must not choose another root. */
	if (options->has_root_hash && memcmp(hash, options->root_hash, HASH_BYTES) != 0)
		return "roothash= is there twice with different values";
	memcpy(options->root_hash, hash, HASH_BYTES);
	for (size_t i = 0; i < HASH_BYTES; i++) {
		options->root_hash_text[2 * i] = digits[hash[i] >> 4];
		options->root_hash_text[2 * i + 1] = digits[hash[i] & 15];
	}
	options->root_hash_text[HASH_DIGITS] = '\0';
	options->has_root_hash = true;
	return NULL;
}

/* The kernel waits for ever with panic=0 and not at all below; we never wait for ever. */
static void parse_panic(const char *value, struct options *options)
{
	char *end;
	long seconds = strtol(value, &end, 10);

	if (end == value || seconds == 0)
		return;
	if (seconds < 0)
		seconds = 0;
	if (seconds > MAX_PANIC_SECONDS)
		seconds = MAX_PANIC_SECONDS;
	options->panic = (int)seconds;
	options->has_panic = true;
}

/* Is the word `name` and does a value follow? Then point at it. */
static bool option(const char *word, size_t length, const char *name, const char **value)
{
	size_t prefix = strlen(name);

	if (length < prefix || strncmp(word, name, prefix) != 0)
		return false;
	*value = word + prefix;
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static size_t word_length(const char *word)
{
	bool quoted = false;
	size_t length = 0;

	for (; word[length] && (quoted || !blank(word[length])); length++)
		if (word[length] == '"')
			quoted = !quoted;
	return length;
}

const char *parse_cmdline(const char *line, struct options *options)
{
	const char *wrong = NULL;

	memset(options, 0, sizeof(*options));
	while (*line) {
		const char *value;
		size_t length;

		if (blank(*line)) {
			line++;
			continue;
		}
		length = word_length(line);
		/* What follows "--" belongs to init (Documentation/admin-guide/kernel-parameters.rst). */
		if (length == 2 && strncmp(line, "--", 2) == 0)
			break;
		if (option(line, length, "roothash=", &value)) {
			const char *problem =
				parse_root_hash(value, length - (size_t)(value - line), options);

			/* Go on: panic= may come later, and the failure should respect it. */
			if (problem)
				wrong = problem;
		} else if (option(line, length, "panic=", &value)) {
			parse_panic(value, options);
		}
		line += length;
	}
	return wrong;
}
