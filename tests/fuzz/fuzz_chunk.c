/* Any bytes as a row of several: what is read is written again as it was. */
#include <stdlib.h>

#include "core/check.h"
#include "storage/embed/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chunk chunk;
    struct bytes bytes = bytes_of(data, size);
    if (chunk_read(bytes, UINT32_MAX, UINT32_MAX, &chunk) != ERR_OK) return 0;
    check(chunk.size == size && chunk.count >= 2);
    uint8_t *again = malloc(size);
    struct writer writer = writer_of(again, size);
    chunk_write(&chunk, &writer);
    check(bytes_equal(writer_bytes(&writer), bytes));
    free(again);
    return 0;
}
