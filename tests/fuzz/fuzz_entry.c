/* Any bytes as a batch: entries are read or refused, never past the end. */
#include "storage/embed/entry.h"
#include "storage/embed/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_of(bytes_of(data, size));
    struct entry entry;
    struct batch_head head;
    while (reader.left > 0 && entry_read(&reader, &entry) == ERR_OK) {
        struct reader body = reader_of(entry.body);
        struct publication publication;
        struct members_change change;
        if (entry.type == RECORD_PUBLICATION) (void)!publication_read(&body, &publication);
        (void)entry_move(&entry);
        if (entry.type != RECORD_MEMBERS) continue;
        if (entry_members(&entry, &change) == ERR_OK) members_change_fini(&change);
    }
    (void)!batch_open(bytes_of(data, size), 256, &head);
    (void)!batch_search(bytes_of(data, size), 0, 256, 1, &head);
    return 0;
}
