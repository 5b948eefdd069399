/* For Neon: 32 weights in 16 bytes, the lower four bits of which are of the first 16 targets. */
#ifndef __ARM_NEON
#error "this file is for processors with Neon; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define ROWS 17U /* times 15 is in a byte */
#define TILE 32U
#define HALF 16U
#define EIGHT 8U

/* Sums of bytes, each less 8 for every row, times quanta to eight targets. */
L2MU_INLINE void add_eight(int16_t *v, uint8x8_t sums, uint16x8_t start, const int16_t *quantum)
{
    l2mu_add_products(v, vreinterpretq_s16_u16(vaddw_u8(start, sums)), quantum);
}

/* Some rows to all targets, as many of which as are a multiple of eight have a place. */
static void add_rows(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes, size_t rows)
{
    const uint16x8_t start = vdupq_n_u16((uint16_t)(0U - (8U * (uint32_t)rows)));
    const uint16_t *const end = spikes + rows;
    const uint8_t *weights = p->weights;
    const int16_t *quantum = p->quantum;
    int16_t *to = v;
    size_t left = p->targets;
    while (left > HALF) {
        uint8x16_t even = vdupq_n_u8(0);
        uint8x16_t odd = vdupq_n_u8(0);
        const uint16_t *spike = spikes;
        do {
            const uint8x16_t bytes = vld1q_u8(&weights[(size_t)*spike * HALF]);
            ++spike;
            even = vaddq_u8(even, vandq_u8(bytes, vdupq_n_u8(15)));
            odd = vsraq_n_u8(odd, bytes, 4);
        } while (spike != end);
        add_eight(to, vget_low_u8(even), start, quantum);
        add_eight(&to[8], vget_high_u8(even), start, &quantum[8]);
        add_eight(&to[16], vget_low_u8(odd), start, &quantum[16]);
        if (left > (HALF + EIGHT)) {
            add_eight(&to[24], vget_high_u8(odd), start, &quantum[24]);
        }
        weights += (size_t)p->sources * HALF;
        quantum += TILE;
        to += TILE;
        left = (left > TILE) ? (left - TILE) : 0U;
    }
    if (left > 0U) {
        uint8x8_t even = vdup_n_u8(0);
        uint8x8_t odd = vdup_n_u8(0);
        const uint16_t *spike = spikes;
        do {
            const uint8x8_t bytes = vld1_u8(&weights[(size_t)*spike * EIGHT]);
            ++spike;
            even = vadd_u8(even, vand_u8(bytes, vdup_n_u8(15)));
            odd = vsra_n_u8(odd, bytes, 4);
        } while (spike != end);
        add_eight(to, even, start, quantum);
        if (left > EIGHT) {
            add_eight(&to[8], odd, start, &quantum[8]);
        }
    }
}

void l2mu_accumulate_dense_i4_i16_neon(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < ROWS) ? left : ROWS;
        add_rows(p, v, spike, rows);
        spike += rows;
        left -= rows;
    }
}
