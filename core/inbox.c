/*
 * inbox: a list under a mutex.
 */
#include "core/inbox.h"

#include "core/check.h"
#include "core/loop.h"

void inbox_init(struct inbox *inbox, struct loop *loop)
{
    int error = pthread_mutex_init(&inbox->mutex, NULL);
    check(error == 0);
    inbox->first = NULL;
    inbox->last = &inbox->first;
    inbox->loop = loop;
}

void inbox_fini(struct inbox *inbox)
{
    check(inbox->first == NULL);
    pthread_mutex_destroy(&inbox->mutex);
}

void inbox_post(struct inbox *inbox, struct note *note)
{
    check(note->on_note != NULL);

    pthread_mutex_lock(&inbox->mutex);
    bool was_empty = inbox->first == NULL;
    note->next = NULL;
    *inbox->last = note;
    inbox->last = &note->next;
    /* Rung under the mutex: once it is free the shard may read the note, finish
     * and take the loop with it. */
    if (was_empty && inbox->loop != NULL) loop_wake(inbox->loop);
    pthread_mutex_unlock(&inbox->mutex);
}

uint32_t inbox_read(struct inbox *inbox, void *shard)
{
    pthread_mutex_lock(&inbox->mutex);
    struct note *note = inbox->first;
    inbox->first = NULL;
    inbox->last = &inbox->first;
    pthread_mutex_unlock(&inbox->mutex);

    uint32_t count = 0;
    while (note != NULL) {
        struct note *next = note->next; /* on_note may post the note again or free it */
        note->on_note(note, shard);
        note = next;
        count++;
    }
    return count;
}

bool inbox_is_empty(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->mutex);
    bool is_empty = inbox->first == NULL;
    pthread_mutex_unlock(&inbox->mutex);
    return is_empty;
}
