/*
 * mesh_race: a race that TSan must report.
 *
 * Built twice.  Against a mesh without its annotation: every letter is a race
 * then, and a silent TSan would mean that it sees none of our letters.  With
 * PLANTED_RACE against the real one: the sender writes to a letter that it has
 * posted, which an annotation of the ring instead of the chain might hide.
 * Nobody has a loop, so that no other thing orders the threads.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/mesh.h"

#define LETTERS 20000

struct shard {
    struct post *post;
    uint32_t seen;
    uint64_t sum;
};

static struct shard shards[2];

static void on_letter(void *context, struct letter *letter)
{
    struct shard *shard = context;
    for (uint32_t i = 0; i < letter->size; i++) shard->sum += letter->payload[i];
    shard->seen++;
}

static const struct letter_handlers kinds[] = {{"data", on_letter, NULL}};

static void *reader_main(void *argument)
{
    struct shard *shard = argument;
    while (shard->seen < LETTERS) {
        mesh_read(shard->post, 100);
        mesh_flush(shard->post);
    }
    return NULL;
}

static void *sender_main(void *argument)
{
    struct shard *shard = argument;
    for (uint32_t i = 0; i < LETTERS; i++) {
        struct letter *letter = letter_new(shard->post, 1, 0, 64);
        memset(letter->payload, (int)i & 0xff, letter->size);
        letter_post(shard->post, letter);
        mesh_flush(shard->post);
#ifdef PLANTED_RACE
        letter->payload[i % 64]++;
#endif
        mesh_read(shard->post, 100);
    }
    mesh_flush(shard->post);
    return NULL;
}

int main(void)
{
    struct mesh *mesh = mesh_create(2, kinds, 1, 1);
    for (uint32_t i = 0; i < 2; i++) shards[i].post = mesh_open(mesh, i, &shards[i], NULL);
    pthread_t reader, sender;
    pthread_create(&reader, NULL, reader_main, &shards[1]);
    pthread_create(&sender, NULL, sender_main, &shards[0]);
    pthread_join(sender, NULL);
    /* Either may have left its last chain staged on a full ring; from here on
     * this thread does what they would. */
    while (pthread_tryjoin_np(reader, NULL) != 0) {
        mesh_flush(shards[0].post);
        mesh_read(shards[0].post, 100);
    }
    while (mesh_letters_out(shards[0].post) > 0) {
        for (uint32_t i = 0; i < 2; i++) {
            mesh_read(shards[i].post, 100);
            mesh_flush(shards[i].post);
        }
    }
    mesh_destroy(mesh);
    printf("sum %llu\n", (unsigned long long)shards[1].sum);
    return 0;
}
