/*
 * UTF-8 whole against UTF-8 in pieces: the first byte says how long a piece is.
 */
#include <stdlib.h>

#include "core/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    size_t step = data[0] % 16 + 1;
    struct bytes text = bytes_of(data + 1, size - 1);
    bool is_valid = utf8_is_valid(text), is_possible = true;
    struct utf8 utf8 = {0};
    for (size_t at = 0; at < text.size; at += step) {
        bool was_possible = is_possible;
        is_possible = utf8_feed(&utf8, bytes_of(text.at + at, min_u64(step, text.size - at)));
        if (is_possible && !was_possible) abort();
    }
    if ((is_possible && utf8_is_whole(&utf8)) != is_valid) abort();
    return 0;
}
