/* For Helium: 32 weights in 16 bytes, the lower four bits of which are of the first 16 targets. Every
 * other byte has those of eight that are neighbours. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define ROWS 17U /* times 15 is in a byte */
#define TILE 32U
#define HALF 16U
#define EIGHT 8U

/* Sums, each less 8 for every row, times quanta to eight targets. */
L2MU_INLINE void add_eight(int16_t *v, uint16x8_t sums, uint16_t excess, const int16_t *quantum)
{
    l2mu_add_products(v, vreinterpretq_s16_u16(vsubq_n_u16(sums, excess)), quantum);
}

/* Some rows to all targets, as many of which as are a multiple of eight have a place. */
static void add_rows(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes, size_t rows)
{
    const uint16_t excess = (uint16_t)(8U * rows);
    const uint8_t *weights = p->weights;
    const int16_t *quantum = p->quantum;
    int16_t *to = v;
    size_t left = p->targets;
    while (left > HALF) {
        uint8x16_t even = vdupq_n_u8(0);
        uint8x16_t odd = vdupq_n_u8(0);
        const uint16_t *spike = spikes;
        for (size_t more = rows; more > 0U; --more) {
            const uint8x16_t bytes = vld1q_u8(&weights[(size_t)*spike * HALF]);
            ++spike;
            even = vaddq_u8(even, vandq_u8(bytes, vdupq_n_u8(15)));
            odd = vaddq_u8(odd, vshrq_n_u8(bytes, 4));
        }
        add_eight(to, vmovlbq_u8(even), excess, quantum);
        add_eight(&to[8], vmovltq_u8(even), excess, &quantum[8]);
        add_eight(&to[16], vmovlbq_u8(odd), excess, &quantum[16]);
        if (left > (HALF + EIGHT)) {
            add_eight(&to[24], vmovltq_u8(odd), excess, &quantum[24]);
        }
        weights += (size_t)p->sources * HALF;
        quantum += TILE;
        to += TILE;
        left = (left > TILE) ? (left - TILE) : 0U;
    }
    if (left > 0U) {
        uint16x8_t even = vdupq_n_u16(0);
        uint16x8_t odd = vdupq_n_u16(0);
        const uint16_t *spike = spikes;
        for (size_t more = rows; more > 0U; --more) {
            const uint16x8_t bytes = vldrbq_u16(&weights[(size_t)*spike * EIGHT]);
            ++spike;
            even = vaddq_u16(even, vandq_u16(bytes, vdupq_n_u16(15)));
            odd = vaddq_u16(odd, vshrq_n_u16(bytes, 4));
        }
        add_eight(to, even, excess, quantum);
        if (left > EIGHT) {
            add_eight(&to[8], odd, excess, &quantum[8]);
        }
    }
}

void l2mu_accumulate_dense_i4_i16_mve(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < ROWS) ? left : ROWS;
        add_rows(p, v, spike, rows);
        spike += rows;
        left -= rows;
    }
}
