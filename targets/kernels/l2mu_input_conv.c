#include "l2mu_arith.h"
#include "l2mu_kernels.h"

/* Of target number i: its channel, row and column. */
typedef struct {
    size_t channel;
    size_t row;
    size_t column;
} place_t;

L2MU_INLINE place_t place_of(const l2mu_slide_t *p, size_t target)
{
    place_t found;
    found.channel = target / p->positions;
    const size_t rest = target - (found.channel * p->positions);
    found.row = rest / p->target_width;
    found.column = rest - (found.row * p->target_width);
    return found;
}

L2MU_INLINE size_t kernel_size(const l2mu_slide_t *p)
{
    return (size_t)p->kernel_height * p->kernel_width;
}

/* The first sample of the group that a target channel reads. */
L2MU_INLINE size_t samples_of(const l2mu_slide_t *p, size_t channel)
{
    return (channel / p->out) * p->channels * p->height * p->width;
}

L2MU_INLINE int32_t sum_of(const l2mu_slide_t *p, const int8_t *weights, const int16_t *sample,
                           place_t at)
{
    const int8_t *kernel = &weights[at.channel * p->channels * kernel_size(p)];
    const int16_t *map = &sample[samples_of(p, at.channel)];
    int32_t total = 0;
    for (size_t channel = 0; channel < p->channels; ++channel) {
        for (size_t row = p->row_start[at.row]; row < p->row_start[at.row + 1U]; ++row) {
            const int8_t *const weight = &kernel[(size_t)p->row_kernel[row] * p->kernel_width];
            const int16_t *const line = &map[(size_t)p->row_other[row] * p->width];
            for (size_t column = p->column_start[at.column]; column < p->column_start[at.column + 1U];
                 ++column) {
                total += weight[p->column_kernel[column]] * line[p->column_other[column]];
            }
        }
        kernel += kernel_size(p);
        map += (size_t)p->height * p->width;
    }
    return total;
}

void l2mu_input_conv_f32(const l2mu_slide_t *p, const float *weights, float *v, const float *sample)
{
    const size_t targets = (size_t)p->target_channels * p->positions;
    for (size_t i = 0; i < targets; ++i) {
        const place_t at = place_of(p, i);
        const float *kernel = &weights[at.channel * p->channels * kernel_size(p)];
        const float *map = &sample[samples_of(p, at.channel)];
        float total = v[i];
        for (size_t channel = 0; channel < p->channels; ++channel) {
            for (size_t row = p->row_start[at.row]; row < p->row_start[at.row + 1U]; ++row) {
                const float *const weight = &kernel[(size_t)p->row_kernel[row] * p->kernel_width];
                const float *const line = &map[(size_t)p->row_other[row] * p->width];
                for (size_t column = p->column_start[at.column];
                     column < p->column_start[at.column + 1U]; ++column) {
                    const float current =
                        weight[p->column_kernel[column]] * line[p->column_other[column]];
                    total += current;
                }
            }
            kernel += kernel_size(p);
            map += (size_t)p->height * p->width;
        }
        v[i] = total;
    }
}

void l2mu_input_conv_i8_i32(const l2mu_slide_t *p, const int8_t *weights, const int32_t *shift,
                            uint8_t shift_step, int32_t *v, const int16_t *sample)
{
    const size_t targets = (size_t)p->target_channels * p->positions;
    for (size_t i = 0; i < targets; ++i) {
        const uint32_t by = (uint32_t)shift[i * shift_step];
        const int32_t total = sum_of(p, weights, sample, place_of(p, i));
        v[i] += l2mu_floor_shift(total + l2mu_half(by), by);
    }
}

void l2mu_input_conv_i8_i16(const l2mu_slide_t *p, const int8_t *weights, const int32_t *shift,
                            uint8_t shift_step, int16_t *v, const int16_t *sample)
{
    const size_t targets = (size_t)p->target_channels * p->positions;
    for (size_t i = 0; i < targets; ++i) {
        const uint32_t by = (uint32_t)shift[i * shift_step];
        const int32_t total = sum_of(p, weights, sample, place_of(p, i));
        v[i] = (int16_t)(v[i] + l2mu_floor_shift(total + l2mu_half(by), by));
    }
}
