#include "l2mu_kernels.h"

/* The weight from source `i` to target `j`. */
static int32_t weight(const l2mu_packed_t *p, size_t i, size_t j)
{
    const size_t row_bytes = ((size_t)p->targets + 1U) / 2U;
    const uint32_t pair = p->weights[(i * row_bytes) + (j / 2U)];
    const uint32_t bits = ((j % 2U) == 0U) ? (pair & 15U) : (pair >> 4U);
    return ((int32_t)bits - 8) * p->quantum[j];
}

void l2mu_accumulate_dense_i4_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        for (size_t j = 0; j < p->targets; ++j) {
            v[j] += weight(p, *spike, j);
        }
    }
}

void l2mu_accumulate_dense_i4_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const uint16_t *spike = spikes + 1;
    const uint16_t *end = spike + spikes[0];
    for (; spike != end; ++spike) {
        for (size_t j = 0; j < p->targets; ++j) {
            v[j] = (int16_t)(v[j] + weight(p, *spike, j));
        }
    }
}
