#include "l2mu_kernels.h"

static void add_row_f32(float *v, const float *row, size_t size)
{
    for (size_t j = 0; j < size; ++j) {
        v[j] += row[j];
    }
}

void l2mu_accumulate_dense_f32(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        add_row_f32(v, p->weights + ((size_t)*spike * p->targets), p->targets);
    }
}

void l2mu_accumulate_shared_f32(float *v, uint16_t rows, uint16_t columns, const float *weights,
                                const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        const size_t block = (size_t)*spike / columns;
        const size_t column = *spike - (block * columns);
        add_row_f32(v + (block * rows), weights + (column * rows), rows);
    }
}

void l2mu_accumulate_distinct_f32(float *v, uint16_t rows, uint16_t columns, const float *weights,
                                  const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        const size_t block = (size_t)*spike / columns;
        add_row_f32(v + (block * rows), weights + ((size_t)*spike * rows), rows);
    }
}
