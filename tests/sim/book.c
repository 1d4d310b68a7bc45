/*
 * book: what the run knows to be true.
 */
#include "book.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "wire_sim.h"
#include "world.h"

struct book book;

void book_init(const struct plan *plan)
{
    memset(&book, 0, sizeof(book));
    book.plan = plan;
    for (uint32_t i = 0; i < plan->channels_count; i++) book.channels[i].plan = &plan->channels[i];
}

void book_fini(void)
{
    for (uint32_t i = 0; i < book.plan->channels_count; i++) free(book.channels[i].numbers);
    free(book.messages);
}

uint32_t book_message_new(uint32_t channel, uint32_t publisher)
{
    if (book.messages_count == book.messages_room) {
        book.messages_room = book.messages_room == 0 ? 1024 : 2 * book.messages_room;
        book.messages = realloc(book.messages, book.messages_room * sizeof(*book.messages));
        check(book.messages != NULL);
    }
    book.messages[book.messages_count] =
        (struct book_message){.channel = channel, .publisher = publisher, .fate = FATE_OPEN};
    return book.messages_count++;
}

uint32_t book_channel_of(struct bytes name)
{
    for (uint32_t i = 0; i < book.plan->channels_count; i++)
        if (bytes_equal_text(name, book.plan->channels[i].name)) return i;
    return UINT32_MAX;
}

uint32_t book_number_of(struct bytes data)
{
    uint64_t number = peek_number(data, "m", UINT64_MAX);
    if (number >= book.messages_count)
        world_fail("a delivered message was published by someone", "data %.*s",
                   (int)min_u64(data.size, 80), (const char *)data.at);
    /* The payload's tail tells truncation and mixed-up bytes. */
    uint64_t pad = peek_number(data, "s", 0);
    struct bytes text;
    if (!peek_get(data, "p", &text) || text.size != pad + 2)
        world_fail("a payload arrives whole", "message %u", (uint32_t)number);
    for (size_t i = 1; i + 1 < text.size; i++)
        if (text.at[i] != 'a' + number % 26)
            world_fail("a payload arrives unchanged", "message %u", (uint32_t)number);
    return (uint32_t)number;
}
