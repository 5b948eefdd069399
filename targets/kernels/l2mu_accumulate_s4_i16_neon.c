/* For Neon: 32 weights in 16 bytes, the lower four bits of which are of the first 16 targets; a register
 * is the table of what they stand for. */
#ifndef __ARM_NEON
#error "this file is for processors with Neon; compile the network for this processor, see --target"
#endif

#include "l2mu_powers.h"

#define WIDTH 16U

/* What sixteen times four bits stand for. */
L2MU_INLINE uint8x16_t multiples(uint8x16_t table, uint8x16_t bits)
{
#ifdef __aarch64__
    return vqtbl1q_u8(table, bits);
#else
    const uint8x8x2_t both = {{vget_low_u8(table), vget_high_u8(table)}};
    return vcombine_u8(vtbl2_u8(both, vget_low_u8(bits)), vtbl2_u8(both, vget_high_u8(bits)));
#endif
}

L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const uint16x8_t start = vdupq_n_u16((uint16_t)(0U - (L2MU_POWERS_EXCESS * (uint32_t)rows)));
    const uint8x16_t table = vld1q_u8(L2MU_POWERS);
    const size_t sure = (width == WIDTH) ? WIDTH : 0U;
    const uint16_t *const end = spikes + rows;
    const uint16_t *spike = spikes;
    uint16x8_t sums[4] = {start, start, start, start};
    do {
        const uint8x16_t bytes = l2mu_row_of_bytes(&tile->weights[*spike * width], width);
        const uint8x16_t lower = multiples(table, vandq_u8(bytes, vdupq_n_u8(0x0F)));
        const uint8x16_t upper = multiples(table, vshrq_n_u8(bytes, 4));
        ++spike;
        sums[0] = vaddw_u8(sums[0], vget_low_u8(lower));
        sums[1] = vaddw_u8(sums[1], vget_high_u8(lower));
        sums[2] = vaddw_u8(sums[2], vget_low_u8(upper));
        sums[3] = vaddw_u8(sums[3], vget_high_u8(upper));
    } while (spike != end);
    l2mu_add_eight(tile, v, sums[0], 0U, sure);
    l2mu_add_eight(tile, v, sums[2], width, sure);
    if (width == WIDTH) {
        l2mu_add_eight(tile, v, sums[1], 8U, sure);
        l2mu_add_eight(tile, v, sums[3], WIDTH + 8U, sure);
    }
}

void l2mu_accumulate_dense_s4_i16_neon(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 2U};
    if (spikes[0] > 0U) {
        l2mu_add_tiles(p, v, spikes + 1, spikes[0], by);
    }
}
