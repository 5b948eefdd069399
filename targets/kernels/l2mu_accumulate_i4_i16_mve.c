/* For Helium: 32 weights in 16 bytes, the lower four bits of which are of the first 16 targets. Every
 * other byte has those of eight that are neighbours. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define ROWS 17U /* times 15 is in a byte */
#define WIDTH 16U

L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const uint16_t excess = (uint16_t)(8U * rows);
    const size_t sure = (width == WIDTH) ? WIDTH : 0U;
    const uint16_t *spike = spikes;
    uint8x16_t even = vdupq_n_u8(0);
    uint8x16_t odd = vdupq_n_u8(0);
    for (size_t left = rows; left > 0U; --left) {
        const uint8x16_t bytes = l2mu_row_of_bytes(&tile->weights[*spike * width], width);
        ++spike;
        even = vaddq_u8(even, vandq_u8(bytes, vdupq_n_u8(0x0F)));
        odd = vaddq_u8(odd, vshrq_n_u8(bytes, 4));
    }
    l2mu_add_eight(tile, v, vsubq_n_u16(vmovlbq_u8(even), excess), 0U, sure);
    l2mu_add_eight(tile, v, vsubq_n_u16(vmovlbq_u8(odd), excess), width, sure);
    if (width == WIDTH) {
        l2mu_add_eight(tile, v, vsubq_n_u16(vmovltq_u8(even), excess), 8U, sure);
        l2mu_add_eight(tile, v, vsubq_n_u16(vmovltq_u8(odd), excess), WIDTH + 8U, sure);
    }
}

void l2mu_accumulate_dense_i4_i16_mve(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 2U};
    l2mu_accumulate_tiles(p, v, spikes, ROWS, by);
}
