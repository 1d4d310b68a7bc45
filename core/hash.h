/*
 * hash: seeded 64-bit hashes and jump consistent hash.
 *
 * hash_bytes is the same on every machine for the same seed, so it may name
 * partitions; maps seed it from entropy so that nobody can aim at a bucket.
 *
 * Thread:  any; pure.
 * Source:  wyhash-style mix; Lamping & Veach 2014 for hash_jump.
 * Tests:   tests/unit/core/test_hash.c
 */
#pragma once

#include "core/bytes.h"

uint64_t hash_bytes(struct bytes bytes, uint64_t seed);
uint64_t hash_u64(uint64_t value, uint64_t seed);
/* 0 .. buckets-1; a new bucket moves about 1/buckets of the keys. */
uint32_t hash_jump(uint64_t key, uint32_t buckets);
/* CRC32C (Castagnoli), continuing from `crc` (0 to begin). */
uint32_t hash_crc32c(uint32_t crc, const void *at, size_t size);
/* The same by a table: what machines without the instruction run, and what the
 * tests hold the instruction against. */
uint32_t hash_crc32c_table(uint32_t crc, const void *at, size_t size);
