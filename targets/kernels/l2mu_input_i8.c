#include "l2mu_arith.h"
#include "l2mu_kernels.h"

/* A sum over one channel is what encoders have. */
static inline int32_t current(const int8_t *weight, const int16_t *sample, size_t columns, uint32_t shift)
{
    int32_t total = l2mu_half(shift) + (weight[0] * sample[0]);
    for (size_t channel = 1; channel < columns; ++channel) {
        total += weight[channel] * sample[channel];
    }
    return l2mu_floor_shift(total, shift);
}

void l2mu_input_i8_i32(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample)
{
    const int16_t *channels = sample;
    const int32_t *shift = p->shift;
    int32_t *target = v;
    for (size_t block = 0; block < p->blocks; ++block) {
        const int8_t *weight = p->weights + (block * p->block_step);
        for (size_t row = 0; row < p->rows; ++row) {
            *target += current(weight, channels, p->columns, (uint32_t)*shift);
            ++target;
            weight += p->columns;
            shift += p->shift_step;
        }
        channels += p->columns;
    }
}

void l2mu_input_i8_i16(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    const int16_t *channels = sample;
    const int32_t *shift = p->shift;
    int16_t *target = v;
    for (size_t block = 0; block < p->blocks; ++block) {
        const int8_t *weight = p->weights + (block * p->block_step);
        for (size_t row = 0; row < p->rows; ++row) {
            *target = (int16_t)(*target + current(weight, channels, p->columns, (uint32_t)*shift));
            ++target;
            weight += p->columns;
            shift += p->shift_step;
        }
        channels += p->columns;
    }
}
