/* For Helium: 32 weights in 16 bytes, the lower four bits of which are of the first 16 targets; every
 * other byte has those of eight that are neighbours. What they stand for is looked up. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include "l2mu_powers.h"

#define WIDTH 16U

/* Sums of pairs of bytes, as of numbers of 16 bits, and of the second bytes. */
typedef struct {
    uint16x8_t both;
    uint16x8_t second;
} sums_t;

L2MU_INLINE sums_t plus(sums_t sums, uint8x16_t bits)
{
    const uint16x8_t pairs = vreinterpretq_u16_u8(vldrbq_gather_offset_u8(L2MU_POWERS, bits));
    const sums_t more = {vaddq_u16(sums.both, pairs),
                         vaddq_u16(sums.second, vshrq_n_u16(pairs, 8))};
    return more;
}

L2MU_INLINE void add_part(const l2mu_packed_t *tile, int16_t *v, sums_t sums, size_t rows, size_t first,
                          size_t width)
{
    const uint16_t excess = (uint16_t)(L2MU_POWERS_EXCESS * (uint32_t)rows);
    const size_t sure = (width == WIDTH) ? WIDTH : 0U;
    const uint16x8_t even = vsubq_u16(sums.both, vshlq_n_u16(sums.second, 8));
    l2mu_add_eight(tile, v, vsubq_n_u16(even, excess), first, sure);
    if (width == WIDTH) {
        l2mu_add_eight(tile, v, vsubq_n_u16(sums.second, excess), first + 8U, sure);
    }
}

L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const uint16_t *spike = spikes;
    sums_t lower = {vdupq_n_u16(0), vdupq_n_u16(0)};
    sums_t upper = {vdupq_n_u16(0), vdupq_n_u16(0)};
    for (size_t left = rows; left > 0U; --left) {
        const uint8x16_t bytes = l2mu_row_of_bytes(&tile->weights[*spike * width], width);
        ++spike;
        lower = plus(lower, vandq_u8(bytes, vdupq_n_u8(0x0F)));
        upper = plus(upper, vshrq_n_u8(bytes, 4));
    }
    add_part(tile, v, lower, rows, 0U, width);
    add_part(tile, v, upper, rows, width, width);
}

void l2mu_accumulate_dense_s4_i16_mve(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 2U};
    if (spikes[0] > 0U) {
        l2mu_add_tiles(p, v, spikes + 1, spikes[0], by);
    }
}
