#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_convert_counts(float *sample, uint16_t channels, const int16_t *counts)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        sample[channel] = (float)counts[channel];
    }
}

void l2mu_quantize_counts(int16_t *quantized, uint16_t channels, const int16_t *counts,
                          int32_t scale, uint16_t shift)
{
    const int32_t half = l2mu_half(shift);
    for (size_t channel = 0; channel < channels; ++channel) {
        const int32_t scaled = (counts[channel] * scale) + half;
        const int32_t rounded = l2mu_floor_shift(scaled, shift);
        quantized[channel] = (int16_t)l2mu_clip(rounded, INT16_MIN, INT16_MAX);
    }
}
