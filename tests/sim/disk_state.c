/*
 * disk_state: names and directories of the simulated disk, and its crash.
 */
#include "disk_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "world.h"

#define NAMES_MAX       1024
#define DIRECTORIES_MAX 64
#define CHANGES_MAX     4096

/* A path as programs see it and as the medium has it; free when both are NULL. */
struct name {
    char path[PATH_SIM_MAX];
    struct file *now, *medium;
};

/* A change of a directory that is not durable yet, oldest first. */
struct change {
    char directory[PATH_SIM_MAX];
    uint32_t name; /* gets `file`, which is NULL for a removal */
    struct file *file;
    uint32_t from; /* a rename also takes the file away here; or UINT32_MAX */
};

static struct {
    struct name names[NAMES_MAX];
    uint32_t names_count;
    char directories[DIRECTORIES_MAX][PATH_SIM_MAX];
    uint32_t directories_count;
    struct change *changes;
    uint32_t changes_count;
    struct file *files;
    uint32_t files_count; /* ever created: their numbers */
    uint64_t ticket;
} state;

void state_init(void)
{
    memset(&state, 0, sizeof(state));
    state.changes = calloc(CHANGES_MAX, sizeof(*state.changes));
    check(state.changes != NULL);
}

void state_fini(void)
{
    while (state.files != NULL) {
        struct file *file = state.files;
        state.files = file->next;
        file_free(file);
    }
    free(state.changes);
    memset(&state, 0, sizeof(state));
}

uint64_t state_ticket(void)
{
    return ++state.ticket;
}

static void parent_of(const char *path, char parent[PATH_SIM_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    check(size < PATH_SIM_MAX);
    memcpy(parent, path, size);
    parent[size] = '\0';
}

static struct name *name_find(const char *path)
{
    for (uint32_t i = 0; i < state.names_count; i++)
        if (strcmp(state.names[i].path, path) == 0) return &state.names[i];
    return NULL;
}

static bool name_is_pending(uint32_t index)
{
    for (uint32_t i = 0; i < state.changes_count; i++)
        if (state.changes[i].name == index || state.changes[i].from == index) return true;
    return false;
}

static struct name *name_get(const char *path)
{
    struct name *name = name_find(path);
    for (uint32_t i = 0; name == NULL && i < state.names_count; i++)
        if (state.names[i].now == NULL && state.names[i].medium == NULL && !name_is_pending(i))
            name = &state.names[i];
    if (name == NULL) {
        check(state.names_count < NAMES_MAX);
        name = &state.names[state.names_count++];
    }
    check(strlen(path) < PATH_SIM_MAX);
    snprintf(name->path, sizeof(name->path), "%s", path);
    return name;
}

static bool file_is_named(const struct file *file)
{
    for (uint32_t i = 0; i < state.names_count; i++)
        if (state.names[i].now == file || state.names[i].medium == file) return true;
    for (uint32_t i = 0; i < state.changes_count; i++)
        if (state.changes[i].file == file) return true;
    return false;
}

static void files_collect(void)
{
    for (struct file **at = &state.files; *at != NULL;) {
        struct file *file = *at;
        if (file->handles > 0 || file_is_named(file)) {
            at = &file->next;
            continue;
        }
        *at = file->next;
        file_free(file);
    }
}

void file_drop(struct file *file)
{
    check(file->handles > 0);
    if (--file->handles == 0 && !file_is_named(file)) files_collect();
}

static void change_add(const char *path, struct name *name, struct file *file, struct name *from)
{
    check(state.changes_count < CHANGES_MAX);
    struct change *change = &state.changes[state.changes_count++];
    parent_of(path, change->directory);
    change->name = (uint32_t)(name - state.names);
    change->file = file;
    change->from = from == NULL ? UINT32_MAX : (uint32_t)(from - state.names);
}

static void change_settle(const struct change *change)
{
    state.names[change->name].medium = change->file;
    if (change->from != UINT32_MAX) state.names[change->from].medium = NULL;
}

struct file *state_find(const char *path)
{
    const struct name *name = name_find(path);
    return name == NULL ? NULL : name->now;
}

struct file *state_create(const char *path)
{
    struct file *file = file_new(state.files_count++);
    file->next = state.files;
    state.files = file;
    struct name *name = name_get(path);
    check(name->now == NULL);
    name->now = file;
    change_add(path, name, file, NULL);
    return file;
}

int state_unlink(const char *path)
{
    struct name *name = name_find(path);
    if (name == NULL || name->now == NULL) return -ENOENT;
    name->now = NULL;
    change_add(path, name, NULL, NULL);
    return 0;
}

int state_rename(const char *from, const char *to)
{
    struct name *source = name_find(from);
    if (source == NULL || source->now == NULL) return -ENOENT;
    if (!state_has_parent(to)) return -ENOENT;
    struct file *file = source->now;
    struct name *target = name_get(to);
    /* Both names live in one directory, as the house's renames do: one change. */
    target->now = file;
    source->now = NULL;
    change_add(to, target, file, source);
    return 0;
}

void state_mkdir(const char *path)
{
    char parent[PATH_SIM_MAX];
    if (path[0] == '\0' || state_is_directory(path)) return;
    parent_of(path, parent);
    if (parent[0] != '\0' && strcmp(parent, path) != 0) state_mkdir(parent);
    check(state.directories_count < DIRECTORIES_MAX);
    snprintf(state.directories[state.directories_count++], PATH_SIM_MAX, "%s", path);
}

bool state_is_directory(const char *path)
{
    if (strcmp(path, "/") == 0) return true;
    for (uint32_t i = 0; i < state.directories_count; i++)
        if (strcmp(state.directories[i], path) == 0) return true;
    return false;
}

bool state_has_parent(const char *path)
{
    char parent[PATH_SIM_MAX];
    parent_of(path, parent);
    return parent[0] == '\0' || state_is_directory(parent);
}

/* Makes the first `keep` changes of a directory durable and forgets the rest
 * when `is_crash`. */
static void changes_settle(const char *directory, uint32_t keep, bool is_crash)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < state.changes_count; i++) {
        struct change *change = &state.changes[i];
        if (strcmp(change->directory, directory) != 0) {
            if (left != i) state.changes[left] = *change;
            left++;
        } else if (keep > 0) {
            change_settle(change);
            keep--;
        } else {
            check(is_crash);
        }
    }
    state.changes_count = left;
}

void state_sync_dir(const char *path)
{
    changes_settle(path, UINT32_MAX, false);
    files_collect();
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int state_list(const char *path, void (*each)(void *context, const char *name), void *context)
{
    char names[256][PATH_SIM_MAX], parent[PATH_SIM_MAX];
    const char *sorted[256];
    uint32_t count = 0;
    for (uint32_t i = 0; i < state.names_count; i++) {
        if (state.names[i].now == NULL) continue;
        parent_of(state.names[i].path, parent);
        if (strcmp(parent, path) != 0) continue;
        check(count < array_count(names));
        const char *slash = strrchr(state.names[i].path, '/');
        snprintf(names[count], PATH_SIM_MAX, "%s", slash == NULL ? state.names[i].path : slash + 1);
        sorted[count] = names[count];
        count++;
    }
    qsort(sorted, count, sizeof(sorted[0]), names_compare);
    for (uint32_t i = 0; i < count; i++) each(context, sorted[i]);
    return 0;
}

void state_crash(void)
{
    char directory[PATH_SIM_MAX];
    while (state.changes_count > 0) {
        memcpy(directory, state.changes[0].directory, sizeof(directory));
        uint32_t count = 0;
        for (uint32_t i = 0; i < state.changes_count; i++)
            count += strcmp(state.changes[i].directory, directory) == 0;
        /* File systems log changes of names in order: a prefix stays. */
        changes_settle(directory, (uint32_t)rng_below(&world.rng_disk, count + 1), true);
    }
    for (uint32_t i = 0; i < state.names_count; i++) state.names[i].now = state.names[i].medium;
    files_collect();
    for (struct file *file = state.files; file != NULL; file = file->next) file_crash(file);
}

uint32_t state_dirty(void)
{
    uint32_t dirty = 0;
    for (const struct file *file = state.files; file != NULL; file = file->next)
        for (uint64_t i = 0; i < file->pages_count; i++)
            if (file->pages[i] != NULL)
                dirty += (uint32_t)__builtin_popcount(file->pages[i]->dirty);
    return dirty;
}

uint32_t state_files(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < state.names_count; i++) count += state.names[i].now != NULL;
    return count;
}
