/*
 * letter_who: fields in, fields out.
 */
#include "shards/letter_who.h"

#include <string.h>

#include "core/arena.h"
#include "core/check.h"
#include "shards/letter_parts.h"

size_t who_size(const struct wire_info *who)
{
    return sizeof who->client + SIZED(who->user) + SIZED(who->conn_info) + SIZED(who->chan_info);
}

void who_write(struct writer *writer, const struct wire_info *who)
{
    write_bytes(writer, bytes_of(who->client, sizeof who->client));
    write_sized(writer, who->user);
    write_sized(writer, who->conn_info);
    write_sized(writer, who->chan_info);
}

void who_read_client(struct reader *reader, uint8_t client[16])
{
    struct bytes id = read_bytes(reader, 16);
    check(id.size == 16);
    memcpy(client, id.at, 16);
}

void who_read(struct reader *reader, struct wire_info *who)
{
    who_read_client(reader, who->client);
    who->user = read_sized(reader);
    who->conn_info = read_sized(reader);
    who->chan_info = read_sized(reader);
}

size_t lists_size(const struct answer *in)
{
    if ((in->clients_count | in->users_count | in->infos_count | in->rows_count) == 0) return 0;
    size_t size = 4 * 4;
    for (uint32_t i = 0; i < in->infos_count; i++) size += who_size(&in->infos[i]);
    for (uint32_t i = 0; i < in->rows_count; i++) size += SIZED(in->rows[i].name) + 4;
    return size;
}

void lists_write(struct writer *writer, const struct answer *in)
{
    write_u32(writer, in->clients_count);
    write_u32(writer, in->users_count);
    write_u32(writer, in->infos_count);
    for (uint32_t i = 0; i < in->infos_count; i++) who_write(writer, &in->infos[i]);
    write_u32(writer, in->rows_count);
    for (uint32_t i = 0; i < in->rows_count; i++) {
        write_sized(writer, in->rows[i].name);
        write_u32(writer, in->rows[i].clients);
    }
}

void lists_read(struct reader *reader, struct arena *arena, struct answer *out)
{
    out->clients_count = read_u32(reader);
    out->users_count = read_u32(reader);
    out->infos_count = read_u32(reader);
    check(out->infos_count <= reader->left);
    struct wire_info *infos = arena_get(arena, (out->infos_count + (size_t)1) * sizeof *infos);
    for (uint32_t i = 0; i < out->infos_count; i++) who_read(reader, &infos[i]);
    out->infos = infos;
    out->rows_count = read_u32(reader);
    check(out->rows_count <= reader->left);
    struct channel_row *rows = arena_get(arena, (out->rows_count + (size_t)1) * sizeof *rows);
    for (uint32_t i = 0; i < out->rows_count; i++) {
        rows[i].name = read_sized(reader);
        rows[i].clients = read_u32(reader);
    }
    out->rows = rows;
}
