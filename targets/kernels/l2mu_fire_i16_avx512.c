/* For x86-64 processors with AVX-512: 32 neurons in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512bw")
#endif
#include <immintrin.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#endif

#define LANES ((size_t)32)
#define HIGH ((1 << (L2MU_NARROW_BITS - 1)) - 1)
#define LOW (-HIGH - 1)

enum reset { SUBTRACT, ZERO, CLAMP, NONE };

/* Decays Q16 as their low halves, and for which of them a product of the signed half is one v short. */
typedef struct {
    __m512i low;
    __mmask32 more;
} decays_t;

static inline decays_t one_decay(int32_t beta)
{
    const __mmask32 more = (beta > 32767) ? ~(__mmask32)0 : 0U;
    return (decays_t){_mm512_set1_epi16((int16_t)beta), more};
}

static inline decays_t own_decays(const int32_t *beta, __mmask32 some)
{
    const __m512i first = _mm512_maskz_loadu_epi32((__mmask16)some, beta);
    const __m512i second = _mm512_maskz_loadu_epi32((__mmask16)(some >> 16U), &beta[LANES / 2U]);
    const __m512i half = _mm512_set1_epi32(32767);
    const __mmask16 first_more = _mm512_cmpgt_epi32_mask(first, half);
    const __mmask16 second_more = _mm512_cmpgt_epi32_mask(second, half);
    const __m512i low = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(first)),
                                           _mm512_cvtepi32_epi16(second), 1);
    return (decays_t){low, (__mmask32)first_more | ((__mmask32)second_more << 16U)};
}

static inline __mmask32 first_lanes(uint32_t count)
{
    return (__mmask32)(((uint64_t)1U << count) - 1U);
}

/* Write the numbers of the neurons in `fired`; lane 0 is number `first`. */
#ifdef __AVX512VBMI2__
static inline uint16_t *listed(uint16_t *next, __mmask32 fired, size_t first)
{
    const __m512i lanes =
        _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12,
                         11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i numbers = _mm512_add_epi16(lanes, _mm512_set1_epi16((int16_t)first));
    const uint32_t count = (uint32_t)__builtin_popcount(fired);
    _mm512_mask_storeu_epi16(next, first_lanes(count), _mm512_maskz_compress_epi16(fired, numbers));
    return &next[count];
}
#else
static inline uint16_t *listed(uint16_t *next, __mmask32 fired, size_t first)
{
    uint16_t *end = next;
    for (__mmask32 left = fired; left != 0U; left &= left - 1U) {
        *end = (uint16_t)(first + (uint32_t)__builtin_ctz(left));
        ++end;
    }
    return end;
}
#endif

static inline __m512i saturated(__m512i values)
{
    const __m512i below_high = _mm512_min_epi16(values, _mm512_set1_epi16(HIGH));
    return _mm512_max_epi16(below_high, _mm512_set1_epi16(LOW));
}

static inline __m512i decayed(__m512i values, decays_t by)
{
    const __m512i product = _mm512_mulhi_epi16(values, by.low);
    return _mm512_mask_add_epi16(product, by.more, product, values);
}

/* What is left of decayed membranes where neurons have `fired`. */
static inline __attribute__((always_inline)) __m512i
after_spikes(__m512i membranes, __mmask32 fired, __m512i threshold, enum reset reset)
{
    switch (reset) {
    case SUBTRACT: return _mm512_mask_sub_epi16(membranes, fired, membranes, threshold);
    case NONE: return membranes;
    default: return _mm512_mask_mov_epi16(membranes, fired, _mm512_setzero_si512());
    }
}

/* What a step reads of a population; decays are NULL where one serves for all. Only current-based neurons
 * have an `alpha`. */
typedef struct {
    const int32_t *alpha;
    const int32_t *beta;
    const int16_t *threshold;
    const int16_t *bias;
    decays_t one_alpha;
    decays_t one_beta;
} neurons_t;

static inline __attribute__((always_inline)) uint16_t *
fire_some(neurons_t p, int16_t *v, uint16_t *next, size_t j, __mmask32 some, enum reset reset)
{
    const decays_t beta = (p.beta == NULL) ? p.one_beta : own_decays(&p.beta[j], some);
    const __m512i threshold = _mm512_maskz_loadu_epi16(some, &p.threshold[j]);
    const __m512i membranes = saturated(_mm512_maskz_loadu_epi16(some, &v[j]));
    const __mmask32 fired = _mm512_cmpgt_epi16_mask(membranes, threshold);
    __m512i after = after_spikes(decayed(membranes, beta), fired, threshold, reset);
    if (p.bias != NULL) {
        after = _mm512_add_epi16(after, _mm512_maskz_loadu_epi16(some, &p.bias[j]));
    }
    _mm512_mask_storeu_epi16(&v[j], some, after);
    return listed(next, fired, j);
}

/* The same of current-based neurons. */
static inline __attribute__((always_inline)) uint16_t *
integrate_some(neurons_t p, int16_t *v, int16_t *syn, uint16_t *next, size_t j, __mmask32 some,
               enum reset reset)
{
    const decays_t alpha = (p.alpha == NULL) ? p.one_alpha : own_decays(&p.alpha[j], some);
    const decays_t beta = (p.beta == NULL) ? p.one_beta : own_decays(&p.beta[j], some);
    const __m512i threshold = _mm512_maskz_loadu_epi16(some, &p.threshold[j]);
    const __m512i current = saturated(_mm512_maskz_loadu_epi16(some, &syn[j]));
    const __m512i start = _mm512_maskz_loadu_epi16(some, &v[j]);
    const __mmask32 spiked = _mm512_cmpgt_epi16_mask(start, threshold);
    __m512i membranes = decayed(start, beta);
    if (reset != CLAMP) {
        membranes = after_spikes(membranes, spiked, threshold, reset);
    }
    membranes = saturated(_mm512_add_epi16(membranes, current));
    if (reset == CLAMP) {
        membranes = after_spikes(membranes, spiked, threshold, reset);
    }
    __m512i after = decayed(current, alpha);
    if (p.bias != NULL) {
        after = _mm512_add_epi16(after, _mm512_maskz_loadu_epi16(some, &p.bias[j]));
    }
    _mm512_mask_storeu_epi16(&v[j], some, membranes);
    _mm512_mask_storeu_epi16(&syn[j], some, after);
    return listed(next, _mm512_cmpgt_epi16_mask(membranes, threshold), j);
}

static inline __attribute__((always_inline)) uint16_t *
step_some(neurons_t p, int16_t *v, int16_t *syn, uint16_t *next, size_t j, __mmask32 some,
          enum reset reset)
{
    return (syn == NULL) ? fire_some(p, v, next, j, some, reset)
                         : integrate_some(p, v, syn, next, j, some, reset);
}

/* LIF neurons, or with `syn` current-based ones. */
static inline __attribute__((always_inline)) void
step(const l2mu_neurons_i16_t *record, int16_t *v, int16_t *syn, uint16_t *spikes, enum reset reset)
{
    const int own = (record->beta_step != 0U) ? 1 : 0;
    const neurons_t p = {(own != 0) ? record->alpha : NULL,
                         (own != 0) ? record->beta : NULL,
                         record->threshold,
                         record->bias,
                         one_decay((syn != NULL) ? *record->alpha : 0),
                         one_decay(*record->beta)};
    const size_t size = record->size;
    uint16_t *next = &spikes[1];
    size_t j = 0;
    for (; (j + LANES) <= size; j += LANES) {
        next = step_some(p, v, syn, next, j, ~(__mmask32)0, reset);
    }
    if (j < size) {
        next = step_some(p, v, syn, next, j, first_lanes((uint32_t)(size - j)), reset);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_subtract_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    step(p, v, NULL, spikes, SUBTRACT);
}

void l2mu_fire_zero_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    step(p, v, NULL, spikes, ZERO);
}

void l2mu_fire_none_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    step(p, v, NULL, spikes, NONE);
}

void l2mu_fire_synaptic_subtract_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                            uint16_t *spikes)
{
    step(p, v, syn, spikes, SUBTRACT);
}

void l2mu_fire_synaptic_zero_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes)
{
    step(p, v, syn, spikes, ZERO);
}

void l2mu_fire_synaptic_clamp_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes)
{
    step(p, v, syn, spikes, CLAMP);
}

void l2mu_fire_synaptic_none_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes)
{
    step(p, v, syn, spikes, NONE);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
