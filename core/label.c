/*
 * label: near or far.
 */
#include "core/label.h"

#include "core/check.h"
#include "core/mem.h"

void label_set(struct label *label, struct bytes text)
{
    check(text.size <= LABEL_MAX);
    check(label->near[LABEL_NEAR] == 0); /* empty: a far one would be lost */
    uint8_t *to = label->near;
    if (text.size > LABEL_NEAR) to = label->far = mem_alloc(text.size);
    if (text.size > 0) memcpy(to, text.at, text.size);
    label->near[LABEL_NEAR] = (uint8_t)text.size;
}

void label_clear(struct label *label)
{
    if (label->near[LABEL_NEAR] > LABEL_NEAR) mem_free(label->far);
    *label = (struct label){0};
}
