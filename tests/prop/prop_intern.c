/*
 * The intern table against an array of counts.  Texts share prefixes and cross
 * the size classes; the table grows, shrinks and wraps round its end.
 */
#include "core/intern.h"
#include "prop.h"

#define TEXTS 400

static struct text {
    uint8_t bytes[300];
    uint32_t size, uses, name;
} texts[TEXTS];

static struct bytes content(const struct text *text)
{
    return bytes_of(text->bytes, text->size);
}

static void whole_compare(const struct intern *intern)
{
    uint32_t held = 0;
    intern_verify(intern);
    for (uint32_t i = 0; i < TEXTS; i++) {
        if (texts[i].uses == 0) continue;
        held++;
        expect(bytes_equal(intern_text(intern, texts[i].name), content(&texts[i])));
    }
    expect(intern_count(intern) == held);
}

static void round_intern(struct rng *rng)
{
    struct intern intern;
    intern_init(&intern, rng_next(rng));
    for (uint32_t i = 0; i < TEXTS; i++) {
        struct text *text = &texts[i];
        *text = (struct text){.size = 2 + (uint32_t)rng_below(rng, rng_chance(rng, 80) ? 30 : 298)};
        text->bytes[0] = (uint8_t)i;
        text->bytes[1] = (uint8_t)(i >> 8); /* all different, all alike behind it */
    }
    uint32_t takes = 30;
    for (uint32_t step = 0; step < 4000; step++) {
        if (step % 500 == 0) takes = 20 + (uint32_t)rng_below(rng, 60);
        struct text *text = &texts[rng_below(rng, TEXTS)];
        if (rng_chance(rng, takes)) {
            uint32_t name = intern_take(&intern, content(text));
            expect(name != 0 && (text->uses == 0 || name == text->name));
            text->name = name;
            text->uses++;
        } else if (text->uses > 0) {
            intern_give(&intern, text->name);
            text->uses--;
        }
        if (step % 200 == 0) whole_compare(&intern);
    }
    for (uint32_t i = 0; i < TEXTS; i++)
        for (; texts[i].uses > 0; texts[i].uses--) intern_give(&intern, texts[i].name);
    whole_compare(&intern);
    intern_fini(&intern);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 60, round_intern);
}
