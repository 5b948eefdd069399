/* For Helium: 64 weights in 16 bytes, of which the lowest two bits are of the first 16
 * targets; every other byte has those of eight that are neighbours. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define WIDTH 16U

L2MU_INLINE void add_part(const l2mu_packed_t *tile, int16_t *v, uint8x16_t sums, size_t rows,
                          size_t part, size_t width)
{
    const uint16_t excess = (uint16_t)rows;
    const size_t sure = (width == WIDTH) ? (2U * WIDTH) : 0U;
    const size_t first = part * width;
    l2mu_add_eight(tile, v, vsubq_n_u16(vmovlbq_u8(sums), excess), first, sure);
    if (width == WIDTH) {
        l2mu_add_eight(tile, v, vsubq_n_u16(vmovltq_u8(sums), excess), first + 8U, sure);
    }
}

/* As `l2mu_add_ternary_word`. */
L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const uint8x16_t mask = vdupq_n_u8(0x0F);
    const uint16_t *spike = spikes;
    size_t left = rows;
    uint8x16_t sums[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
    do {
        const size_t some = (left < 7U) ? left : 7U;
        uint8x16_t even = vdupq_n_u8(0);
        uint8x16_t odd = vdupq_n_u8(0);
        for (size_t more = some; more > 0U; --more) {
            const uint8x16_t bytes = l2mu_row_of_bytes(&tile->weights[*spike * width], width);
            ++spike;
            even = vaddq_u8(even, vandq_u8(bytes, vdupq_n_u8(0x33)));
            odd = vaddq_u8(odd, vshrq_n_u8(bytes, 2));
        }
        odd = vsubq_u8(odd, vshlq_n_u8(vshrq_n_u8(even, 4), 2));
        sums[0] = vaddq_u8(sums[0], vandq_u8(even, mask));
        sums[1] = vaddq_u8(sums[1], vandq_u8(odd, mask));
        sums[2] = vaddq_u8(sums[2], vshrq_n_u8(even, 4));
        sums[3] = vaddq_u8(sums[3], vshrq_n_u8(odd, 4));
        left -= some;
    } while (left > 0U);
    add_part(tile, v, sums[0], rows, 0U, width);
    add_part(tile, v, sums[1], rows, 1U, width);
    add_part(tile, v, sums[2], rows, 2U, width);
    add_part(tile, v, sums[3], rows, 3U, width);
}

void l2mu_accumulate_dense_i2_i16_mve(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 4U};
    l2mu_accumulate_tiles(p, v, spikes, L2MU_TERNARY_ROWS, by);
}
