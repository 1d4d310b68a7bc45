/* Two twins of each question.  A range is one subtraction and one comparison: a
 * number below `low` wraps to something above the span. */
#include "storage/scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/check.h"
#include "core/limits.h"

static uint32_t count_plain(const uint16_t *values, uint32_t count, uint16_t low, uint16_t high)
{
    uint16_t span = (uint16_t)(high - low);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += (uint16_t)(values[i] - low) <= span;
    return sum;
}

static uint64_t mask_plain(const uint16_t *values, uint32_t count, uint16_t low, uint16_t high)
{
    check(count <= SCAN_WORD);
    uint16_t span = (uint16_t)(high - low);
    uint64_t mask = 0;
    for (uint32_t i = 0; i < count; i++)
        mask |= (uint64_t)((uint16_t)(values[i] - low) <= span) << i;
    return mask;
}

static uint32_t pass_plain(const uint16_t *values, uint32_t count, uint16_t low, uint16_t high)
{
    uint16_t span = (uint16_t)(high - low);
    for (uint32_t i = 0; i < count; i++)
        if ((uint16_t)(values[i] - low) <= span) return i / SCAN_WORD * SCAN_WORD;
    return count;
}

static uint64_t expand_plain(uint64_t bits, uint64_t mask)
{
    uint64_t out = 0;
    for (; mask != 0; mask &= mask - 1, bits >>= 1)
        if (bits & 1) out |= mask & -mask;
    return out;
}

static uint32_t ones_plain(uint64_t bits)
{
    return (uint32_t)__builtin_popcountll(bits);
}

const struct scan scan_plain = {count_plain, mask_plain, pass_plain, expand_plain, ones_plain};

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,bmi2,popcnt")))

/* All ones in each 16-bit lane that lies in the range. */
TARGET static inline __m256i hits(const uint16_t *values, __m256i low, __m256i span)
{
    __m256i have = _mm256_loadu_si256((const __m256i *)(const void *)values);
    __m256i above = _mm256_sub_epi16(have, low);
    return _mm256_cmpeq_epi16(_mm256_min_epu16(above, span), above);
}

/* A lane counts at most count / 16 hits, so that 16 bits suffice for half a million. */
TARGET static uint32_t count_avx2(const uint16_t *values, uint32_t count, uint16_t low,
                                  uint16_t high)
{
    static_assert(MEMBERS_MAX * 4 / 16 < INT16_MAX, "lanes do not overflow");
    __m256i least = _mm256_set1_epi16((short)low), lanes = _mm256_setzero_si256();
    __m256i span = _mm256_set1_epi16((short)(high - low));
    uint32_t i = 0;
    for (; count - i >= 16; i += 16) lanes = _mm256_sub_epi16(lanes, hits(values + i, least, span));
    __m256i pairs = _mm256_madd_epi16(lanes, _mm256_set1_epi16(1));
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(sums) + count_plain(values + i, count - i, low, high);
}

/* 32 lanes to 32 bits.  PACKSSWB works within halves of 128 bits, so their
 * quarters come out as 0, 2, 1, 3 and are put back in order. */
TARGET static inline uint64_t mask_32(const uint16_t *values, __m256i low, __m256i span)
{
    __m256i bytes = _mm256_packs_epi16(hits(values, low, span), hits(values + 16, low, span));
    return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xd8));
}

TARGET static uint64_t mask_avx2(const uint16_t *values, uint32_t count, uint16_t low,
                                 uint16_t high)
{
    if (unlikely(count < SCAN_WORD)) return mask_plain(values, count, low, high);
    check(count == SCAN_WORD);
    __m256i least = _mm256_set1_epi16((short)low);
    __m256i span = _mm256_set1_epi16((short)(high - low));
    return mask_32(values, least, span) | mask_32(values + 32, least, span) << 32;
}

TARGET static uint32_t pass_avx2(const uint16_t *values, uint32_t count, uint16_t low,
                                 uint16_t high)
{
    __m256i least = _mm256_set1_epi16((short)low);
    __m256i span = _mm256_set1_epi16((short)(high - low));
    uint32_t i = 0;
    for (; count - i >= SCAN_WORD; i += SCAN_WORD) {
        __m256i one =
            _mm256_or_si256(hits(values + i, least, span), hits(values + i + 16, least, span));
        __m256i two =
            _mm256_or_si256(hits(values + i + 32, least, span), hits(values + i + 48, least, span));
        __m256i any = _mm256_or_si256(one, two);
        if (!_mm256_testz_si256(any, any)) return i;
    }
    return i + pass_plain(values + i, count - i, low, high);
}

TARGET static uint64_t expand_bmi2(uint64_t bits, uint64_t mask)
{
    return _pdep_u64(bits, mask);
}

TARGET static uint32_t ones_popcnt(uint64_t bits)
{
    return (uint32_t)__builtin_popcountll(bits);
}

static const struct scan scan_avx2 = {count_avx2, mask_avx2, pass_avx2, expand_bmi2, ones_popcnt};
#endif

const struct scan *scan_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
        __builtin_cpu_supports("popcnt"))
        return &scan_avx2;
#endif
    return &scan_plain;
}
