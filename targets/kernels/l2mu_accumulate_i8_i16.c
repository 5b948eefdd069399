#include "l2mu_kernels.h"

static void add_row_i16(int16_t *v, const int8_t *row, size_t size)
{
    for (size_t j = 0; j < size; ++j) {
        v[j] = (int16_t)(v[j] + row[j]);
    }
}

void l2mu_accumulate_dense_i8_i16(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        add_row_i16(v, p->weights + ((size_t)*spike * p->targets), p->targets);
    }
}

void l2mu_accumulate_shared_i8_i16(int16_t *v, uint16_t rows, uint16_t columns, const int8_t *weights,
                                const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        const size_t block = (size_t)*spike / columns;
        const size_t column = *spike - (block * columns);
        add_row_i16(v + (block * rows), weights + (column * rows), rows);
    }
}

void l2mu_accumulate_distinct_i8_i16(int16_t *v, uint16_t rows, uint16_t columns, const int8_t *weights,
                                  const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        const size_t block = (size_t)*spike / columns;
        add_row_i16(v + (block * rows), weights + ((size_t)*spike * rows), rows);
    }
}
