/*
 * near: edits between two names, over one row of the matrix.
 */
#include "core/near.h"

#include <string.h>

#include "core/check.h"

size_t near_distance(const char *a, const char *b)
{
    check(a != NULL && b != NULL);
    size_t row[NEAR_NAME_MAX + 1];
    size_t size = strlen(b);
    if (size > NEAR_NAME_MAX || strlen(a) > NEAR_NAME_MAX) return NEAR_FAR;
    for (size_t k = 0; k <= size; k++) row[k] = k;
    for (size_t i = 1; a[i - 1] != 0; i++) {
        size_t diagonal = row[0]; /* the row above, one column to the left */
        row[0] = i;
        for (size_t k = 1; k <= size; k++) {
            size_t replaced = diagonal + (a[i - 1] != b[k - 1]);
            diagonal = row[k];
            size_t edited = min_u64(row[k], row[k - 1]) + 1;
            row[k] = min_u64(replaced, edited);
        }
    }
    return row[size];
}
