/* Any bytes: read or refused; what was read is written back the same. */
#include <stdlib.h>
#include <string.h>

#include "storage/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct publication publication;
    struct reader reader = reader_of(bytes_of(data, size));
    if (publication_read(&reader, &publication) != ERR_OK) return 0;
    size_t used = size - reader.left;
    if (publication_size(&publication) != used) abort();
    uint8_t *copy = malloc(used);
    struct writer writer = writer_of(copy, used);
    publication_write(&writer, &publication);
    if (writer.failed || memcmp(copy, data, used) != 0) abort();
    free(copy);
    return 0;
}
