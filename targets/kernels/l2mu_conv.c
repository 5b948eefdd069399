#include "l2mu_arith.h"
#include "l2mu_kernels.h"

/* Where a spike is in the source map, as its synapses need it. */
typedef struct {
    size_t channel;
    size_t row;
    size_t column;
} place_t;

L2MU_INLINE place_t place_of(const l2mu_slide_t *p, size_t spike)
{
    const size_t map = (size_t)p->height * p->width;
    place_t found;
    found.channel = spike / map;
    const size_t rest = spike - (found.channel * map);
    found.row = rest / p->width;
    found.column = rest - (found.row * p->width);
    return found;
}

/* Weights that a source channel has to those of its group, and the first target of these. */
L2MU_INLINE size_t weights_of(const l2mu_slide_t *p, size_t channel)
{
    return channel * p->kernel_height * p->kernel_width * p->out;
}

L2MU_INLINE size_t targets_of(const l2mu_slide_t *p, size_t channel)
{
    return (channel / p->channels) * p->out * p->positions;
}

/* The weights for reads of a row and a column, and the first target of these. */
L2MU_INLINE size_t weights_at(const l2mu_slide_t *p, size_t row, size_t column)
{
    const size_t kernel_row = (size_t)p->row_kernel[row] * p->kernel_width;
    return (kernel_row + p->column_kernel[column]) * p->out;
}

L2MU_INLINE size_t other_at(const l2mu_slide_t *p, size_t row, size_t column, size_t width)
{
    return (p->row_other[row] * width) + p->column_other[column];
}

void l2mu_accumulate_conv_f32(const l2mu_slide_t *p, const float *weights, float *v,
                              const uint16_t *spikes)
{
    const size_t count = spikes[0];
    for (size_t i = 1; i <= count; ++i) {
        const place_t at = place_of(p, spikes[i]);
        const float *const kernels = &weights[weights_of(p, at.channel)];
        float *const targets = &v[targets_of(p, at.channel)];
        for (size_t row = p->row_start[at.row]; row < p->row_start[at.row + 1U]; ++row) {
            for (size_t column = p->column_start[at.column]; column < p->column_start[at.column + 1U];
                 ++column) {
                const float *const weight = &kernels[weights_at(p, row, column)];
                float *const target = &targets[other_at(p, row, column, p->target_width)];
                for (size_t out = 0; out < p->out; ++out) {
                    target[out * p->positions] += weight[out];
                }
            }
        }
    }
}

void l2mu_accumulate_conv_i8_i32(const l2mu_slide_t *p, const int8_t *weights, int32_t *v,
                                 const uint16_t *spikes)
{
    const size_t count = spikes[0];
    for (size_t i = 1; i <= count; ++i) {
        const place_t at = place_of(p, spikes[i]);
        const int8_t *const kernels = &weights[weights_of(p, at.channel)];
        int32_t *const targets = &v[targets_of(p, at.channel)];
        for (size_t row = p->row_start[at.row]; row < p->row_start[at.row + 1U]; ++row) {
            for (size_t column = p->column_start[at.column]; column < p->column_start[at.column + 1U];
                 ++column) {
                const int8_t *const weight = &kernels[weights_at(p, row, column)];
                int32_t *const target = &targets[other_at(p, row, column, p->target_width)];
                for (size_t out = 0; out < p->out; ++out) {
                    target[out * p->positions] += weight[out];
                }
            }
        }
    }
}

void l2mu_accumulate_conv_i8_i16(const l2mu_slide_t *p, const int8_t *weights, int16_t *v,
                                 const uint16_t *spikes)
{
    const size_t count = spikes[0];
    for (size_t i = 1; i <= count; ++i) {
        const place_t at = place_of(p, spikes[i]);
        const int8_t *const kernels = &weights[weights_of(p, at.channel)];
        int16_t *const targets = &v[targets_of(p, at.channel)];
        for (size_t row = p->row_start[at.row]; row < p->row_start[at.row + 1U]; ++row) {
            for (size_t column = p->column_start[at.column]; column < p->column_start[at.column + 1U];
                 ++column) {
                const int8_t *const weight = &kernels[weights_at(p, row, column)];
                int16_t *const target = &targets[other_at(p, row, column, p->target_width)];
                for (size_t out = 0; out < p->out; ++out) {
                    const size_t place = out * p->positions;
                    target[place] = (int16_t)(target[place] + weight[out]);
                }
            }
        }
    }
}
