/* A publication at its listeners, without the kernel: pushed to each pending list, gathered
 * at the end of the turn, taken from the lists when the sends went whole.  `cold`: between
 * these steps the nearer caches are emptied, as the kernel's own work on each send does; the
 * sweep that does so is part of the time. */
#include "bench.h"
#include "core/check.h"
#include "core/mem.h"
#include "proto/ws.h"
#include "shards/shard.h"

#define FRAMES_MAX 16
#define COLD_BYTES (4u << 20)

static struct shard *shard;
static uint64_t sends;
static uint8_t *cold_bytes;

struct crowd {
    uint32_t conns, frames;
    bool is_cold;
};

void __wrap_loop_send_now(struct loop *loop, uint32_t sock, const void *data, uint32_t size);
void __wrap_loop_send_now(struct loop *loop, uint32_t sock, const void *data, uint32_t size)
{
    (void)loop, (void)sock, (void)data;
    sends += size > 0;
}

static void chill(const struct crowd *crowd)
{
    if (crowd->is_cold)
        for (uint32_t i = 0; i < COLD_BYTES; i += CACHE_LINE) cold_bytes[i]++;
}

static void turn(void *context)
{
    const struct crowd *crowd = context;
    struct frame *frames[FRAMES_MAX];
    char payload[240];
    memset(payload, 'x', sizeof payload);
    for (uint32_t f = 0; f < crowd->frames; f++)
        frames[f] = conn_frame(shard, WS_OP_TEXT, bytes_of(payload, sizeof payload));
    chill(crowd);
    for (uint32_t f = 0; f < crowd->frames; f++)
        for (uint32_t i = crowd->conns; i-- > 0;) conn_push(shard, conn_at(shard, i), frames[f]);
    for (uint32_t f = 0; f < crowd->frames; f++) frame_unref(&shard->frames, frames[f]);
    conn_flush(shard);
    chill(crowd);
    conn_flush_done(shard);
    arena_reset(&shard->arena);
}

/* The parts of a shard that these steps touch. */
static void open_shard(uint32_t conns)
{
    static struct config config;
    config.client_queue_max_bytes = 1u << 20;
    config.websocket_message_max_bytes = 65536;
    shard = mem_alloc(sizeof *shard);
    shard->config = &config;
    frames_init(&shard->frames, NULL, 1000);
    arena_init(&shard->arena, TURN_ARENA_KEEP);
    slab_init(&shard->conns, "conns", sizeof(struct conn), conns);
    slab_init(&shard->out_chunks, "out_chunks", OUT_CHUNK_SIZE, 4 * conns);
    for (uint32_t i = 0; i < conns; i++) {
        struct conn *conn = slab_get_at(&shard->conns, i, NULL);
        check(conn != NULL);
        conn->state = CONN_WS;
        conn->flags = CONN_CONNECTED;
    }
}

int main(void)
{
    cold_bytes = mem_alloc(COLD_BYTES);
    open_shard(10000);
    static const struct crowd crowds[] = {
        {1000, 1, false}, {1000, 16, false}, {10000, 1, false},
        {1000, 1, true},  {1000, 16, true},  {10000, 1, true},
    };
    for (uint32_t i = 0; i < array_count(crowds); i++) {
        struct crowd crowd = crowds[i];
        char name[64];
        snprintf(name, sizeof name, "fanout: %u listeners, %u at once%s", crowd.conns, crowd.frames,
                 crowd.is_cold ? ", cold" : "");
        bench(name, (uint64_t)crowd.conns * crowd.frames, turn, &crowd);
    }
    return sends == 0;
}
