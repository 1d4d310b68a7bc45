/*
 * list: intrusive doubly linked list.
 *
 * A head is a node that links to itself when empty.  A node outside a list has
 * NULL links, so "linked?" is a fact of the node.
 *
 * Thread:  the owner of the list.
 * Tests:   tests/unit/core/test_list.c
 */
#pragma once

#include "core/check.h"

struct list {
    struct list *next; /* NULL exactly when the node is in no list */
    struct list *prev;
};

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}
static inline bool list_is_linked(const struct list *node)
{
    return node->next != NULL;
}

/* Adds `node` at the end. */
static inline void list_append(struct list *head, struct list *node)
{
    check(node->next == NULL);
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
/* Adds `node` before everything. */
static inline void list_prepend(struct list *head, struct list *node)
{
    check(node->next == NULL);
    node->next = head->next;
    node->prev = head;
    head->next->prev = node;
    head->next = node;
}
/* A no-op for a node in no list. */
static inline void list_remove(struct list *node)
{
    if (node->next == NULL) return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}
/* Takes the first node out, or NULL. */
static inline struct list *list_take(struct list *head)
{
    struct list *node = head->next;
    if (node == head) return NULL;
    list_remove(node);
    return node;
}
/* Takes all of `nodes` and puts them before everything in `head`, in their order. */
static inline void list_put_back(struct list *nodes, struct list *head)
{
    if (list_is_empty(nodes)) return;
    nodes->prev->next = head->next;
    head->next->prev = nodes->prev;
    nodes->next->prev = head;
    head->next = nodes->next;
    list_init(nodes);
}
#define list_each(node, head)                                                                      \
    for (struct list *node = (head)->next, *node##_after = node->next; node != (head);             \
         node = node##_after, node##_after = node->next)
