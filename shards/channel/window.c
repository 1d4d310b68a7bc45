/*
 * window: a ring of records.
 *
 * A message is written once when it becomes durable and read from here by every
 * recovery.  Its record shares a block with its neighbours: a heap block each cost
 * a tenth of a shard's time under load, for to give back the oldest one its cold
 * head had to be fetched.
 */
#include "shards/channel/window.h"

#include "core/check.h"
#include "core/mem.h"

#define ROOM_FIRST 8
/* A block is as big as what the window held when it was begun, up to this: an arena of
 * the heap grows by a system call a block. */
#define BLOCK_MAX  (32768 - sizeof(struct window_block))
#define LAST_OPEN  UINT64_MAX

void window_init(struct window *window, uint64_t head)
{
    check(window->items == NULL);
    *window = (struct window){.head = head, .floor = 1};
}

static struct window_item *item_at(const struct window *window, uint32_t index)
{
    return &window->items[(window->start + index) & (window->room - 1)];
}

/* All records of the oldest block have left. */
static void drop_block(struct window *window)
{
    struct window_block *block = window->oldest;
    window->oldest = block->next;
    if (window->oldest == NULL) {
        window->newest = NULL;
        window->room_left = 0;
    }
    window->oldest_last = window->oldest == window->newest ? LAST_OPEN : window->oldest->last;
    mem_free(block);
}

static void drop_first(struct window *window)
{
    check(window->count > 0);
    uint64_t offset = window_first(window);
    window->bytes -= item_at(window, 0)->size;
    window->start = (window->start + 1) & (window->room - 1);
    window->count--;
    if (offset == window->oldest_last || window->count == 0) drop_block(window);
    if (window->count > 0) window->oldest_ms = item_at(window, 0)->taken_ms;
}

void window_fini(struct window *window)
{
    while (window->count > 0) drop_first(window);
    mem_free(window->items);
    *window = (struct window){0};
}

/* Room for one more, the ring laid out from 0 again when it grows. */
static void make_room(struct window *window)
{
    if (window->count < window->room) return;
    uint32_t room = window->room == 0 ? ROOM_FIRST : window->room * 2;
    check(room > window->room);
    struct window_item *items = mem_alloc(room * sizeof *items);
    for (uint32_t i = 0; i < window->count; i++) items[i] = *item_at(window, i);
    mem_free(window->items);
    window->items = items;
    window->start = 0;
    window->room = room;
}

/* A block behind the newest one, whose last record was the one before the head. */
static void add_block(struct window *window, uint32_t size)
{
    struct window_block *block = mem_resize(NULL, sizeof *block + size);
    block->next = NULL;
    window->room_at = block->bytes;
    window->room_left = size;
    if (window->newest == NULL) {
        window->oldest = block;
        window->oldest_last = LAST_OPEN;
    } else {
        window->newest->next = block;
        window->newest->last = window->head - 1;
        if (window->oldest == window->newest) window->oldest_last = window->head - 1;
    }
    window->newest = block;
}

/* Room for the record of the head. */
static uint8_t *record_room(struct window *window, uint32_t size)
{
    if (window->newest == NULL || window->room_left < size)
        add_block(window, max_u32((uint32_t)min_u64(window->bytes, BLOCK_MAX), size));
    uint8_t *record = window->room_at;
    window->room_at += size;
    window->room_left -= size;
    return record;
}

static void item_write(struct window *window, struct window_item *item,
                       const struct publication *publication)
{
    size_t size = publication_size(publication);
    check(size <= UINT32_MAX);
    uint8_t *record = record_room(window, (uint32_t)size);
    struct writer writer = writer_of(record, size);
    publication_write(&writer, publication);
    check(!writer.failed && writer.used == size);
    *item = (struct window_item){publication->taken_ms, record, (uint32_t)size};
    window->bytes += size;
}

void window_push(struct window *window, const struct publication *publication)
{
    check(publication->offset == window->head + 1);
    make_room(window);
    if (window->count++ == 0) window->oldest_ms = publication->taken_ms;
    window->head++;
    item_write(window, item_at(window, window->count - 1), publication);
}

void window_trim(struct window *window, struct window_rule rule, uint64_t now_ms)
{
    /* The rule first: it moves the floor. */
    if (window->head >= rule.history_max)
        window->floor = max_u64(window->floor, window->head - rule.history_max + 1);
    while (window->count > 0) {
        bool is_old = window->oldest_ms + rule.ttl_ms <= now_ms;
        if (!is_old && window_first(window) >= window->floor) break;
        window->floor = max_u64(window->floor, window_first(window) + 1);
        drop_first(window);
    }
    while (window->count > rule.items_max ||
           (window->bytes > WINDOW_BYTES_MAX && window->count > 1))
        drop_first(window);
    check(window->floor <= window->head + 1);
}

void window_remove(struct window *window, uint64_t offset)
{
    check(offset <= window->head);
    window->floor = max_u64(window->floor, offset + 1);
    while (window->count > 0 && window_first(window) < window->floor) drop_first(window);
}

static const struct window_item *item_of(const struct window *window, uint64_t offset)
{
    check(offset >= window_first(window));
    check(offset <= window->head);
    return item_at(window, (uint32_t)(offset - window_first(window)));
}

void window_bury(struct window *window, uint64_t offset)
{
    struct publication publication;
    if (offset < window_first(window) || offset > window->head) return;
    window_get(window, offset, &publication);
    publication_bury(&publication);
    struct window_item *item = item_at(window, (uint32_t)(offset - window_first(window)));
    /* It is never longer than what it takes the place of (storage/record.h). */
    size_t size = publication_size(&publication);
    check(size <= item->size);
    memset(item->record, 0, item->size);
    struct writer writer = writer_of(item->record, size);
    publication_write(&writer, &publication);
    check(!writer.failed);
    window->bytes -= item->size - size;
    item->size = (uint32_t)size;
}

void window_get(const struct window *window, uint64_t offset, struct publication *publication)
{
    const struct window_item *item = item_of(window, offset);
    struct reader reader = reader_of(bytes_of(item->record, item->size));
    enum err err = publication_read(&reader, publication);
    check(err == ERR_OK);
    check(publication->offset == offset);
}

struct bytes window_record(const struct window *window, uint64_t offset)
{
    const struct window_item *item = item_of(window, offset);
    return bytes_of(item->record, item->size);
}

void window_verify(const struct window *window)
{
    uint64_t bytes = 0;
    check(window->count <= window->room);
    check(window->count <= window->head);
    check(window->floor >= 1);
    check(window->floor <= window_first(window));
    for (uint32_t i = 0; i < window->count; i++) {
        struct publication publication;
        window_get(window, window_first(window) + i, &publication);
        bytes += item_at(window, i)->size;
    }
    check(bytes == window->bytes);
    check(window->count == 0 || window->oldest_ms == item_at(window, 0)->taken_ms);
    check((window->count == 0) == (window->oldest == NULL));
    check(window->count == 0 ||
          (window->oldest_last == LAST_OPEN) == (window->oldest == window->newest));
    /* Each block holds the records up to its last one, and no more. */
    uint64_t first = window_first(window);
    for (const struct window_block *block = window->oldest; block != NULL; block = block->next) {
        check((block->next == NULL) == (block == window->newest));
        uint64_t last = block->next == NULL ? window->head : block->last;
        check(last >= first && last <= window->head);
        check(item_of(window, first)->record >= block->bytes);
        first = last + 1;
    }
    check(first == window->head + 1);
}
