#include <stdbool.h>
#include <string.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

/* Parts of an IEEE 754 binary32 number. */
#define SIGN 0x80000000U
#define MANTISSA_BITS 23U
#define ONE 0x00800000U /* the mantissa's leading bit, which is not stored */
#define LARGEST_EXPONENT 255U
#define BIAS 127

/* floor(number * 2^fraction + 1/2), clipped to int16, without floats. */
static int16_t rounded(uint32_t bits, int32_t fraction)
{
    const uint32_t exponent = (bits & ~SIGN) >> MANTISSA_BITS;
    const uint32_t mantissa = bits & (ONE - 1U);
    const uint32_t magnitude = mantissa | ONE;
    const int32_t number = ((bits & SIGN) != 0U) ? -(int32_t)magnitude : (int32_t)magnitude;
    const int32_t shift = (BIAS + (int32_t)MANTISSA_BITS) - (int32_t)exponent - fraction;
    const bool small = (exponent == 0U) || (shift > ((int32_t)MANTISSA_BITS + 2)); /* under a half */
    const bool not_a_number = (exponent == LARGEST_EXPONENT) && (mantissa != 0U);
    int32_t whole = 0;
    if (!small && !not_a_number) {
        const uint32_t places = (shift > 0) ? (uint32_t)shift : 0U; /* none: beyond int16 */
        whole = l2mu_floor_shift(number + l2mu_half(places), places);
    }
    return (int16_t)l2mu_clip(whole, INT16_MIN, INT16_MAX);
}

void l2mu_quantize_sample(int16_t *quantized, uint16_t channels, const float *sample,
                          int32_t fraction)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        uint32_t bits;
        const unsigned char *const bytes = (const unsigned char *)&sample[channel];
        (void)memcpy(&bits, bytes, sizeof bits);
        quantized[channel] = rounded(bits, fraction);
    }
}
