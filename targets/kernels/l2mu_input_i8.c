#include "l2mu_arith.h"
#include "l2mu_kernels.h"

void l2mu_input_i8(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    const int16_t *channels = sample;
    const int32_t *shift = p->shift;
    int32_t *target = v;
    for (size_t block = 0; block < p->blocks; ++block) {
        const int8_t *weight = p->weights + (block * p->block_step);
        for (size_t row = 0; row < p->rows; ++row) {
            int32_t total = l2mu_half((uint32_t)*shift);
            for (size_t channel = 0; channel < p->columns; ++channel) {
                total += *weight * channels[channel];
                ++weight;
            }
            *target += (int32_t)l2mu_floor_shift(total, (uint32_t)*shift);
            ++target;
            shift += p->shift_step;
        }
        channels += p->columns;
    }
}

void l2mu_quantize_sample(int16_t *quantized, uint16_t channels, const float *sample, float scale)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        float scaled = sample[channel] * scale;
        if (scaled != scaled) {
            scaled = 0.0f;
        }
        scaled = (scaled < -32768.0f) ? -32768.0f : ((scaled > 32767.0f) ? 32767.0f : scaled);
        scaled += 0.5f;
        int32_t whole = (int32_t)scaled;
        if ((float)whole > scaled) {
            whole -= 1;
        }
        quantized[channel] = (int16_t)whole;
    }
}
