/*
 * corpus_main: runs a fuzz target over its corpus, as a plain test.
 *
 *   fuzz_X [file or folder]...
 *
 * Every file is fed once, then once for each of its prefixes up to 512 bytes (a
 * target may ask for fewer): a parser must take a cut at every byte.  No argument,
 * or no such folder: only the empty input is tried.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX (4u << 20)

/* Prefixes that are fed. */
size_t corpus_prefix_max(void);
__attribute__((weak)) size_t corpus_prefix_max(void)
{
    return 512;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static void feed(const uint8_t *data, size_t size)
{
    /* A copy of exactly this size, so that a read past the end is seen. */
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) abort();
    if (size > 0) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static unsigned run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    uint8_t *data = malloc(FILE_MAX);
    if (data == NULL) abort();
    size_t size = fread(data, 1, FILE_MAX, file);
    fclose(file);
    feed(data, size);
    for (size_t prefix = 0; prefix < size && prefix < corpus_prefix_max(); prefix++)
        feed(data, prefix);
    free(data);
    return 1;
}

static unsigned run(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return 0;
    if (!S_ISDIR(info.st_mode)) return run_file(path);
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    unsigned files = 0;
    for (int i = 0; i < count; i++) {
        char child[4096];
        snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') files += run(child);
        free(names[i]);
    }
    if (count >= 0) free(names);
    return files;
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize != NULL) LLVMFuzzerInitialize(&argc, &argv);
    feed((const uint8_t *)"", 0);
    unsigned files = 0;
    for (int i = 1; i < argc; i++) files += run(argv[i]);
    printf("%u files\n", files);
    return 0;
}
