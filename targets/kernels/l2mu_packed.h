/* Packed weights: what kernels that read eight or sixteen in a word have in common, and sums of int32 as
 * fast as those of int16. Up to 32 weights, each an int8, add up to an int16. A dense projection's weights
 * lie in tiles of targets, each a smaller projection. */
#ifndef L2MU_PACKED_H
#define L2MU_PACKED_H

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#endif

#include "l2mu_strips.h"

#define L2MU_PACKED_ROWS 32U
#define L2MU_TERNARY_ROWS 126U /* times 2 is in a byte */
#define L2MU_PACKED_TARGETS 128U /* of a strip: a multiple of every set's tiles */

#ifdef __ARM_FEATURE_DSP
/* In assembly: two registers of sums times quanta to four targets. `quanta` and `v` point there and are
 * moved on; `x`, `y` and `z` are free. */
#define L2MU_FOUR_TARGETS(first, second, v, quanta, x, y, z)  \
    "    ldrd   " x ", " y ", [" quanta "], #8\n"             \
    "    smulbb " z ", " first ", " x "\n"                    \
    "    smultt " x ", " first ", " x "\n"                    \
    "    pkhbt  " first ", " z ", " x ", lsl #16\n"           \
    "    smulbb " z ", " second ", " y "\n"                   \
    "    smultt " y ", " second ", " y "\n"                   \
    "    pkhbt  " second ", " z ", " y ", lsl #16\n"          \
    "    ldrd   " x ", " y ", [" v "]\n"                      \
    "    sadd16 " x ", " x ", " first "\n"                    \
    "    sadd16 " y ", " y ", " second "\n"                   \
    "    strd   " x ", " y ", [" v "], #8\n"
#endif

#ifdef __thumb__
/* In assembly: the sum in r0 less r7, times its quantum at r4, to its target at r3. */
#define L2MU_TARGET(offset)              \
    "    subs   r0, r0, r7\n"            \
    "    ldrh   r1, [r4, #" offset "]\n" \
    "    muls   r0, r1, r0\n"            \
    "    ldrh   r1, [r3, #" offset "]\n" \
    "    adds   r0, r0, r1\n"            \
    "    strh   r0, [r3, #" offset "]\n"
#endif

/* v += sums times quanta, eight of each. */
#if defined(__ARM_FEATURE_MVE)
L2MU_INLINE void l2mu_add_products(int16_t *v, int16x8_t sums, const int16_t *quantum)
{
    vst1q_s16(v, vaddq_s16(vld1q_s16(v), vmulq_s16(sums, vld1q_s16(quantum))));
}
#elif defined(__ARM_NEON)
L2MU_INLINE void l2mu_add_products(int16_t *v, int16x8_t sums, const int16_t *quantum)
{
    vst1q_s16(v, vmlaq_s16(vld1q_s16(v), sums, vld1q_s16(quantum)));
}
#endif

#if defined(__ARM_FEATURE_MVE) || defined(__ARM_NEON)
/* 16 bytes, or 8 and others that are 0: in Helium's, every other one. */
L2MU_INLINE uint8x16_t l2mu_row_of_bytes(const uint8_t *row, size_t width)
{
#ifdef __ARM_NEON
    return (width == 16U) ? vld1q_u8(row) : vcombine_u8(vld1_u8(row), vdup_n_u8(0));
#else
    return (width == 16U) ? vld1q_u8(row) : vreinterpretq_u8_u16(vldrbq_u16(row));
#endif
}

/* The same from `first` on, if a tile has such targets: it has more than `sure`. */
L2MU_INLINE void l2mu_add_eight(const l2mu_packed_t *tile, int16_t *v, uint16x8_t sums, size_t first,
                                size_t sure)
{
    if ((first <= sure) || (tile->targets > first)) {
        l2mu_add_products(&v[first], vreinterpretq_s16_u16(sums), &tile->quantum[first]);
    }
}
#endif

#ifdef __AVX2__
/* 32 bytes, or 16 and others of no meaning. */
L2MU_INLINE __m256i l2mu_row_of_bytes(const uint8_t *row, size_t width)
{
    const void *const bytes = row;
    return (width == 32U) ? _mm256_loadu_si256((const __m256i *)bytes)
                          : _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)bytes));
}

L2MU_INLINE void l2mu_add_products(int16_t *v, __m128i sums, const int16_t *quantum)
{
    const __m128i by = _mm_loadu_si128((const __m128i *)(const void *)quantum);
    const __m128i before = _mm_loadu_si128((const __m128i *)(const void *)v);
    const __m128i after = _mm_add_epi16(before, _mm_mullo_epi16(sums, by));
    _mm_storeu_si128((__m128i *)(void *)v, after);
}

/* The same of sums that are bytes and each so much too great, of any number of targets. */
L2MU_INLINE void l2mu_add_bytes(int16_t *v, const uint8_t *sums, uint32_t excess,
                                const int16_t *quantum, size_t count)
{
    const __m128i less = _mm_set1_epi16((int16_t)excess);
    for (size_t j = 0; j < count; j += 8U) {
        const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)&sums[j]);
        l2mu_add_products(&v[j], _mm_sub_epi16(_mm_cvtepu8_epi16(bytes), less), &quantum[j]);
    }
}
#endif

typedef void l2mu_accumulate_packed_t(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);

L2MU_INLINE void l2mu_add_packed_four(int16_t *v, uint32_t sums, uint32_t excess,
                                      const int16_t *quantum)
{
    const int32_t less = (int32_t)excess;
    v[0] = (int16_t)(v[0] + (((int32_t)(sums & 0xFFU) - less) * quantum[0]));
    v[1] = (int16_t)(v[1] + (((int32_t)((sums >> 16U) & 0xFFU) - less) * quantum[1]));
    v[2] = (int16_t)(v[2] + (((int32_t)((sums >> 8U) & 0xFFU) - less) * quantum[2]));
    v[3] = (int16_t)(v[3] + (((int32_t)(sums >> 24U) - less) * quantum[3]));
}

/* Some rows, at most 16, of eight targets that are a word. */
L2MU_INLINE void l2mu_add_packed_eight(int16_t *v, const uint8_t *weights, const uint16_t *spikes,
                                       size_t rows, const int16_t *quantum)
{
    const uint32_t *const words = (const uint32_t *)(const void *)weights;
    const uint16_t *const end = spikes + rows;
    const uint16_t *spike = spikes;
    uint32_t even = 0;
    uint32_t shifted = 0;
    do {
        const uint32_t word = words[*spike];
        ++spike;
        even += word & 0x0F0F0F0FU;
        shifted += word >> 4U;
    } while (spike != end);
    l2mu_add_packed_four(v, even, 8U * (uint32_t)rows, quantum);
    l2mu_add_packed_four(&v[4], shifted - ((even >> 8U) << 4U), 8U * (uint32_t)rows, &quantum[4]);
}

/* Some rows, at most L2MU_TERNARY_ROWS, of targets that are a word, 16 or, where `half`, 8. A word's sums
 * at even and at odd places have four bits each while rows are few, then a byte. Odd ones are in the sum of
 * words without their lowest two bits, once the even ones are taken out of it again. */
L2MU_INLINE void l2mu_add_ternary_word(int16_t *v, const uint32_t *words, const uint16_t *spikes,
                                       size_t rows, const int16_t *quantum, int half)
{
    const uint16_t *const last = spikes + rows;
    const uint16_t *spike = spikes;
    uint32_t sums[4] = {0U, 0U, 0U, 0U};
    do {
        const uint16_t *const end = ((last - spike) < 7) ? last : (spike + 7);
        uint32_t even = 0;
        uint32_t odd = 0;
        do {
            const uint32_t word = words[*spike];
            ++spike;
            even += word & 0x33333333U;
            odd += word >> 2U;
        } while (spike != end);
        odd -= (even >> 4U) << 2U;
        sums[0] += even & 0x0F0F0F0FU;
        sums[1] += (even >> 4U) & 0x0F0F0F0FU;
        sums[2] += odd & 0x0F0F0F0FU;
        sums[3] += (odd >> 4U) & 0x0F0F0F0FU;
    } while (spike != last);
    l2mu_add_packed_four(v, sums[0], (uint32_t)rows, quantum);
    l2mu_add_packed_four(&v[4], sums[1], (uint32_t)rows, &quantum[4]);
    if (half == 0) {
        l2mu_add_packed_four(&v[8], sums[2], (uint32_t)rows, &quantum[8]);
        l2mu_add_packed_four(&v[12], sums[3], (uint32_t)rows, &quantum[12]);
    }
}

/* v += the weights of every spike, as `l2mu_accumulate_dense_i2_i16`. */
L2MU_INLINE void l2mu_accumulate_ternary(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < L2MU_TERNARY_ROWS) ? left : L2MU_TERNARY_ROWS;
        const uint32_t *words = (const uint32_t *)(const void *)p->weights;
        for (size_t j = 0; j < p->targets; j += 16U) {
            l2mu_add_ternary_word(&v[j], words, spike, rows, &p->quantum[j], (p->targets - j) <= 8U);
            words += p->sources;
        }
        spike += rows;
        left -= rows;
    }
}

/* Adds some rows to a tile that has `width` bytes of each; it may have fewer targets than are in those. */
typedef void l2mu_add_tile_t(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                             size_t width);

/* How tiles are added to, and how many bytes of a row a tile has. */
typedef struct {
    l2mu_add_tile_t *add;
    size_t width;
    size_t per_byte;
} l2mu_tiles_t;

/* Some rows to all targets. Where no more than half a tile is left, the last one has half as many bytes. */
L2MU_INLINE void l2mu_add_tiles(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes, size_t rows,
                                l2mu_tiles_t by)
{
    const size_t targets = by.width * by.per_byte;
    l2mu_packed_t tile = *p;
    int16_t *to = v;
    size_t left = p->targets;
    for (; left > (targets / 2U); left -= (left < targets) ? left : targets) {
        tile.targets = (uint16_t)left;
        by.add(&tile, to, spikes, rows, by.width);
        tile.weights += by.width * p->sources;
        tile.quantum += targets;
        to += targets;
    }
    if (left > 0U) {
        tile.targets = (uint16_t)left;
        by.add(&tile, to, spikes, rows, by.width / 2U);
    }
}

/* v += the weights of every spike, of at most so many rows at a time. */
L2MU_INLINE void l2mu_accumulate_tiles(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes,
                                       size_t most, l2mu_tiles_t by)
{
    const uint16_t *spike = spikes + 1;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < most) ? left : most;
        l2mu_add_tiles(p, v, spike, rows, by);
        spike += rows;
        left -= rows;
    }
}

/* Some rows, at most L2MU_PACKED_ROWS, to the targets from `first` on, a strip's at most. */
L2MU_INLINE void l2mu_add_packed_strip(const l2mu_packed_t *p, int32_t *v, size_t first,
                                       const uint16_t *spikes, l2mu_accumulate_packed_t *accumulate,
                                       size_t per_byte)
{
    int16_t sums[L2MU_PACKED_TARGETS] L2MU_ALIGNED;
    const size_t left = p->targets - first;
    const size_t some = (left < L2MU_PACKED_TARGETS) ? left : L2MU_PACKED_TARGETS;
    const size_t place = (first / per_byte) * p->sources;
    const l2mu_packed_t strip = {&p->weights[place], &p->quantum[first], (uint16_t)some, p->sources};
    l2mu_clear_sums(sums, some);
    accumulate(&strip, sums, spikes);
    l2mu_add_sums(&v[first], sums, some);
}

/* v += the weights of every spike, of which so many are in a byte, by a kernel for int16. */
L2MU_INLINE void l2mu_accumulate_packed(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes,
                                        l2mu_accumulate_packed_t *accumulate, size_t per_byte)
{
    uint16_t piece[1U + L2MU_PACKED_ROWS];
    const size_t count = spikes[0];
    for (size_t done = 0; done < count; done += L2MU_PACKED_ROWS) {
        const size_t left = count - done;
        const size_t some = (left < L2MU_PACKED_ROWS) ? left : L2MU_PACKED_ROWS;
        piece[0] = (uint16_t)some;
        for (size_t i = 1; i <= some; ++i) {
            piece[i] = spikes[done + i];
        }
        for (size_t first = 0; first < p->targets; first += L2MU_PACKED_TARGETS) {
            l2mu_add_packed_strip(p, v, first, piece, accumulate, per_byte);
        }
    }
}

#endif
