/* For processors with the DSP extension (Armv7E-M, Armv8-M): two neurons in a register. */
#include <arm_acle.h>

#include "l2mu_kernels.h"

#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension"
#endif

#define SIGNS 0x80008000U
#define GROUP 4U /* registers, of eight neurons, that are tested for spikes together */

typedef enum {
    SUBTRACT,
    ZERO,
    NONE
} reset_t;

static inline uint32_t pair(uint32_t low, uint32_t high)
{
    return (low & 0xFFFFU) | (high << 16U);
}

static inline uint32_t subtract(uint32_t a, uint32_t b)
{
    return (uint32_t)__ssub16((int16x2_t)a, (int16x2_t)b);
}

/* Each half times its factor, rounded down. */
static inline uint32_t decay(uint32_t v, uint32_t low, uint32_t high)
{
    const int32_t first = __smulwb((int32_t)low, (int32_t)v);
    const int32_t second = __smulwt((int32_t)high, (int32_t)v);
    return pair((uint32_t)first, (uint32_t)second);
}

static inline uint16_t *list(uint16_t *next, uint32_t below, uint32_t index)
{
    uint16_t *end = next;
    if ((below & 0x8000U) != 0U) {
        *end = (uint16_t)index;
        ++end;
    }
    if ((below & 0x80000000U) != 0U) {
        *end = (uint16_t)(index + 1U);
        ++end;
    }
    return end;
}

/* Halves of `a` where those of `below` are negative, of `b` elsewhere. */
static inline uint32_t choose(uint32_t below, uint32_t a, uint32_t b)
{
    (void)__sadd16((int16x2_t)below, 0);
    return (uint32_t)__sel((uint8x4_t)b, (uint8x4_t)a);
}

static inline uint32_t after_reset(reset_t reset, uint32_t decayed, uint32_t below,
                                   uint32_t threshold)
{
    switch (reset) {
    case SUBTRACT:
        return subtract(decayed, choose(below, threshold, 0));
    case ZERO:
        return choose(below, 0, decayed);
    default:
        return decayed;
    }
}

static void add_bias(const l2mu_neurons_i16_t *p, uint32_t *v)
{
    const uint32_t *bias = (const uint32_t *)(const void *)p->bias;
    if (bias != NULL) {
        for (size_t i = 0; i < ((p->size + 1U) / 2U); ++i) {
            v[i] = (uint32_t)__sadd16((int16x2_t)v[i], (int16x2_t)bias[i]);
        }
    }
}

/* Most groups have no spike: they are done once that is known. */
static inline uint16_t *fire_group(reset_t reset, const uint32_t *beta, size_t step,
                                   const uint32_t *threshold, uint32_t *v, uint32_t index,
                                   uint16_t *next)
{
    uint32_t below[GROUP];
    uint32_t decayed[GROUP];
    uint32_t signs = 0;
    uint16_t *end = next;
    for (size_t i = 0; i < GROUP; ++i) {
        const uint32_t membrane = (uint32_t)__ssat16((int16x2_t)v[i], L2MU_NARROW_BITS);
        below[i] = subtract(threshold[i], membrane);
        decayed[i] = decay(membrane, beta[2U * i * step], beta[((2U * i) + 1U) * step]);
        signs |= below[i];
    }
    if ((signs & SIGNS) != 0U) {
        for (size_t i = 0; i < GROUP; ++i) {
            end = list(end, below[i], index + (2U * (uint32_t)i));
            decayed[i] = after_reset(reset, decayed[i], below[i], threshold[i]);
        }
    }
    for (size_t i = 0; i < GROUP; ++i) {
        v[i] = decayed[i];
    }
    return end;
}

static inline void fire(reset_t reset, const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    const uint32_t *threshold = (const uint32_t *)(const void *)p->threshold;
    const uint32_t *beta = (const uint32_t *)(const void *)p->beta;
    uint32_t *const pairs = (uint32_t *)(void *)v;
    uint16_t *next = spikes + 1;
    if (p->beta_step == 0U) {
        for (uint32_t j = 0; j < p->size; j += 2U * GROUP) {
            next = fire_group(reset, beta, 0, &threshold[j / 2U], &pairs[j / 2U], j, next);
        }
    } else {
        for (uint32_t j = 0; j < p->size; j += 2U * GROUP) {
            next = fire_group(reset, &beta[j], 1, &threshold[j / 2U], &pairs[j / 2U], j, next);
        }
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    add_bias(p, pairs);
}

void l2mu_fire_subtract_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(SUBTRACT, p, v, spikes);
}

void l2mu_fire_zero_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(ZERO, p, v, spikes);
}

void l2mu_fire_none_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    fire(NONE, p, v, spikes);
}
