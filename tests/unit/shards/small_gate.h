/*
 * small_gate: what stands between a channel and its store in the tests.
 *
 * A store that hands everything to the real one, and may hold ops back, refuse
 * openings, pass a publication over, and make a channel lose its data.
 *
 * Thread:  one.
 */
#pragma once

#include <stdlib.h>

#include "core/check.h"
#include "storage/store.h"

/* An op held back at the gate. */
struct gated {
    enum { GATED_OPEN, GATED_APPEND, GATED_READ } kind;
    void *op;
};

struct gate {
    struct store store; /* first: what the channels are given */
    struct store *inner;
    struct small *small;
    struct gated held[4096];
    uint32_t held_count;
    /* Views of a held append, copied as the contract says. */
    bool is_shut;
    enum err open_err; /* openings end with it */
    uint64_t hole;     /* an offset that no read finds; 0: none.  One read at a time. */
    void (*on_read)(struct store_read *op, enum err err, const struct publication *publications,
                    uint32_t count);
};

static struct gate *gate_of(struct store *store)
{
    return container_of(store, struct gate, store);
}

static void gate_hold(struct gate *gate, int kind, void *op)
{
    check(gate->held_count < array_count(gate->held));
    gate->held[gate->held_count].kind = kind;
    gate->held[gate->held_count++].op = op;
}

static void gate_open(struct store *store, struct store_open *op)
{
    gate_hold(gate_of(store), GATED_OPEN, op);
}

static void gate_close(struct store *store, struct store_channel *channel)
{
    store_close(gate_of(store)->inner, channel);
}

/* Views die with the letter, so a held append owns copies. */
static void gate_append(struct store *store, struct store_append *op)
{
    struct gate *gate = gate_of(store);
    if (!gate->is_shut && gate->held_count == 0) {
        store_append(gate->inner, op);
        return;
    }
    struct bytes *views[] = {&op->publication.data,
                             &op->publication.tags,
                             &op->publication.user,
                             &op->publication.conn_info,
                             &op->publication.chan_info,
                             &op->scope,
                             &op->key,
                             &op->user};
    for (size_t i = 0; i < array_count(views); i++)
        if (views[i]->size > 0)
            *views[i] = bytes_of(mem_text(views[i]->at, views[i]->size), views[i]->size);
    check(op->members.count == 0);
    gate_hold(gate, GATED_APPEND, op);
}

static void gate_free_copies(struct store_append *op)
{
    struct bytes views[] = {op->publication.data,
                            op->publication.tags,
                            op->publication.user,
                            op->publication.conn_info,
                            op->publication.chan_info,
                            op->scope,
                            op->key,
                            op->user};
    for (size_t i = 0; i < array_count(views); i++)
        if (views[i].size > 0) mem_free((void *)(uintptr_t)views[i].at);
}

static struct gate *gate_reading;

static void gate_on_read(struct store_read *op, enum err err,
                         const struct publication *publications, uint32_t count)
{
    struct gate *gate = gate_reading;
    struct publication *found = mem_alloc((count + 1) * sizeof *found);
    uint32_t found_count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (publications[i].offset != gate->hole) found[found_count++] = publications[i];
    op->has_holes = found_count < count;
    op->on_read = gate->on_read;
    gate->on_read = NULL;
    op->on_read(op, err, found, found_count);
    mem_free(found);
}

static void gate_forward_read(struct gate *gate, struct store_read *op)
{
    if (gate->hole > 0) {
        check(gate->on_read == NULL);
        gate_reading = gate;
        gate->on_read = op->on_read;
        op->on_read = gate_on_read;
    }
    store_read(gate->inner, op);
}

static void gate_read(struct store *store, struct store_read *op)
{
    struct gate *gate = gate_of(store);
    if (!gate->is_shut && gate->held_count == 0)
        gate_forward_read(gate, op);
    else
        gate_hold(gate, GATED_READ, op);
}

static void gate_moves(struct store *store, struct store_moves *op)
{
    store_moves(gate_of(store)->inner, op);
}

static void gate_memberships(struct store *store, struct store_memberships *op)
{
    store_memberships(gate_of(store)->inner, op);
}

/* Lets the first `count` held ops through, in order. */
static void gate_pass(struct gate *gate, uint32_t count)
{
    if (count > gate->held_count) count = gate->held_count;
    struct gated *first = mem_alloc((count + 1) * sizeof *first);
    memcpy(first, gate->held, count * sizeof *first);
    gate->held_count -= count;
    memmove(gate->held, gate->held + count, gate->held_count * sizeof gate->held[0]);
    for (uint32_t i = 0; i < count; i++) {
        if (first[i].kind == GATED_OPEN) {
            struct store_open *op = first[i].op;
            if (gate->open_err != ERR_OK)
                op->on_opened(op, gate->open_err, NULL);
            else
                store_open(gate->inner, op);
        } else if (first[i].kind == GATED_READ) {
            gate_forward_read(gate, first[i].op);
        } else {
            struct store_append *op = first[i].op;
            struct store_append copy = *op;
            store_append(gate->inner, op);
            gate_free_copies(&copy);
        }
    }
    mem_free(first);
}

static void gate_submit(struct store *store)
{
    struct gate *gate = gate_of(store);
    if (!gate->is_shut) gate_pass(gate, UINT32_MAX);
    store_submit(gate->inner);
}

static uint32_t gate_pending(const struct store *store)
{
    const struct gate *gate = (const void *)store;
    return gate->held_count + store_pending(gate->inner);
}

static void gate_health(const struct store *store, struct store_health *health)
{
    store_health(((const struct gate *)(const void *)store)->inner, health);
}

static const struct store_engine gate_engine = {
    .name = "gate",
    .open = gate_open,
    .close = gate_close,
    .append = gate_append,
    .read = gate_read,
    .moves = gate_moves,
    .memberships = gate_memberships,
    .submit = gate_submit,
    .pending = gate_pending,
    .health = gate_health,
};
