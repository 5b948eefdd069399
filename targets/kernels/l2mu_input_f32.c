#include "l2mu_kernels.h"

void l2mu_input_f32(const l2mu_input_f32_t *p, float *v, const float *sample)
{
    const float *channels = sample;
    float *target = v;
    for (size_t block = 0; block < p->blocks; ++block) {
        const float *weight = p->weights + (block * p->block_step);
        for (size_t row = 0; row < p->rows; ++row) {
            float total = *target;
            for (size_t channel = 0; channel < p->columns; ++channel) {
                const float current = *weight * channels[channel];
                total += current;
                ++weight;
            }
            *target = total;
            ++target;
        }
        channels += p->columns;
    }
}
