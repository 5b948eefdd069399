#include "l2mu_kernels.h"

/* What four bits multiply the quantum by; 15 is none. */
static const int8_t MULTIPLES[16] = {-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64, 0};

/* The sums of multiples that all spikes send to two targets, `place` bytes into a row. */
static void add_pair(const l2mu_packed_t *p, const uint16_t *spikes, size_t place, int32_t sums[2])
{
    const size_t row_bytes = ((size_t)p->targets + 1U) / 2U;
    const uint8_t *const weights = &p->weights[place];
    const uint16_t *spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    int32_t first = 0;
    int32_t second = 0;
    for (; spike != end; ++spike) {
        const uint32_t pair = weights[*spike * row_bytes];
        first += MULTIPLES[pair & 15U];
        second += MULTIPLES[pair >> 4U];
    }
    sums[0] = first;
    sums[1] = second;
}

void l2mu_accumulate_dense_s4_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes)
{
    for (size_t j = 0; j < p->targets; j += 2U) {
        int32_t sums[2];
        add_pair(p, spikes, j / 2U, sums);
        v[j] += sums[0] * p->quantum[j];
        if ((j + 1U) < p->targets) {
            v[j + 1U] += sums[1] * p->quantum[j + 1U];
        }
    }
}

void l2mu_accumulate_dense_s4_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    for (size_t j = 0; j < p->targets; j += 2U) {
        int32_t sums[2];
        add_pair(p, spikes, j / 2U, sums);
        v[j] = (int16_t)(v[j] + (sums[0] * p->quantum[j]));
        if ((j + 1U) < p->targets) {
            v[j + 1U] = (int16_t)(v[j + 1U] + (sums[1] * p->quantum[j + 1U]));
        }
    }
}
