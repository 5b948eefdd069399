#include "l2mu_arith.h"

/* Weights of so many bits, and which number in them is 0. */
typedef struct {
    uint32_t bits;
    int32_t zero;
} packing_t;

static const packing_t FOUR_BITS = {4U, 8};
static const packing_t TWO_BITS = {2U, 1};

/* The weight of a row to target `j`. */
L2MU_INLINE int32_t weight(const uint8_t *row, const int16_t *quantum, size_t j, packing_t packing)
{
    const size_t place = j * packing.bits;
    const uint32_t mask = ((uint32_t)1U << packing.bits) - 1U;
    const uint32_t number = ((uint32_t)row[place / 8U] >> (place % 8U)) & mask;
    return ((int32_t)number - packing.zero) * quantum[j];
}

L2MU_INLINE void accumulate_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes,
                                packing_t packing)
{
    const size_t targets = p->targets;
    const size_t row_bytes = ((targets * packing.bits) + 7U) / 8U;
    const int16_t *const quantum = p->quantum;
    const uint16_t *spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    for (; spike != end; ++spike) {
        const uint8_t *const row = &p->weights[*spike * row_bytes];
        for (size_t j = 0; j < targets; ++j) {
            v[j] += weight(row, quantum, j, packing);
        }
    }
}

L2MU_INLINE void accumulate_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes,
                                packing_t packing)
{
    const size_t targets = p->targets;
    const size_t row_bytes = ((targets * packing.bits) + 7U) / 8U;
    const int16_t *const quantum = p->quantum;
    const uint16_t *spike = spikes + 1;
    const uint16_t *const end = spike + spikes[0];
    for (; spike != end; ++spike) {
        const uint8_t *const row = &p->weights[*spike * row_bytes];
        for (size_t j = 0; j < targets; ++j) {
            v[j] = (int16_t)(v[j] + weight(row, quantum, j, packing));
        }
    }
}

void l2mu_accumulate_dense_i4_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes)
{
    accumulate_i32(p, v, spikes, FOUR_BITS);
}

void l2mu_accumulate_dense_i4_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    accumulate_i16(p, v, spikes, FOUR_BITS);
}

void l2mu_accumulate_dense_i2_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes)
{
    accumulate_i32(p, v, spikes, TWO_BITS);
}

void l2mu_accumulate_dense_i2_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    accumulate_i16(p, v, spikes, TWO_BITS);
}
