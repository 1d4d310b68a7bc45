#include "storage/embed/ease.h"

#include "core/disk.h"

/* So much is written at most before it is sent; twice that is what a commit may find
 * before it at the device.  With 512 KiB four times as many commits took above 1 ms
 * beside a transaction. */
#define EASE_BYTES (64u << 10)

int ease_note(struct ease *ease, int file, uint64_t offset, uint32_t size)
{
    if (ease->bytes == 0) ease->first = ease->after = offset;
    ease->first = min_u64(ease->first, offset);
    ease->after = max_u64(ease->after, offset + size);
    ease->bytes += size;
    if (ease->bytes < EASE_BYTES) return 0;
    disk_ease_begin(file, ease->first, ease->after - ease->first);
    int result = disk_ease_end(file, ease->sent_first, ease->sent_after - ease->sent_first);
    ease->sent_first = ease->first;
    ease->sent_after = ease->after;
    ease->bytes = 0;
    return result;
}
