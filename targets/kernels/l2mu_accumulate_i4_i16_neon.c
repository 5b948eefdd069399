/* For Neon: 32 weights in 16 bytes, the lower four bits of which are of the first 16 targets. */
#ifndef __ARM_NEON
#error "this file is for processors with Neon; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#define ROWS 17U /* times 15 is in a byte */
#define WIDTH 16U

L2MU_INLINE void add_tile(const l2mu_packed_t *tile, int16_t *v, const uint16_t *spikes, size_t rows,
                          size_t width)
{
    const uint16x8_t start = vdupq_n_u16((uint16_t)(0U - (8U * (uint32_t)rows)));
    const size_t sure = (width == WIDTH) ? WIDTH : 0U;
    const uint16_t *const end = spikes + rows;
    const uint16_t *spike = spikes;
    uint8x16_t even = vdupq_n_u8(0);
    uint8x16_t odd = vdupq_n_u8(0);
    do {
        const uint8x16_t bytes = l2mu_row_of_bytes(&tile->weights[*spike * width], width);
        ++spike;
        even = vaddq_u8(even, vandq_u8(bytes, vdupq_n_u8(0x0F)));
        odd = vsraq_n_u8(odd, bytes, 4);
    } while (spike != end);
    l2mu_add_eight(tile, v, vaddw_u8(start, vget_low_u8(even)), 0U, sure);
    l2mu_add_eight(tile, v, vaddw_u8(start, vget_low_u8(odd)), width, sure);
    if (width == WIDTH) {
        l2mu_add_eight(tile, v, vaddw_u8(start, vget_high_u8(even)), 8U, sure);
        l2mu_add_eight(tile, v, vaddw_u8(start, vget_high_u8(odd)), WIDTH + 8U, sure);
    }
}

void l2mu_accumulate_dense_i4_i16_neon(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const l2mu_tiles_t by = {add_tile, WIDTH, 2U};
    l2mu_accumulate_tiles(p, v, spikes, ROWS, by);
}
