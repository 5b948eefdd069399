/* For x86-64 processors with AVX-512: 16 int32 neurons in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512bw")
#endif
#include <immintrin.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#endif

#define LANES ((size_t)16)

/* The lanes that are there of the next register. */
static inline __mmask16 lanes_below(size_t count)
{
    return (__mmask16)((count < LANES) ? ((1U << count) - 1U) : 0xFFFFU);
}

/* One value for each of the lanes that are there, or the same for all. */
static inline __m512i values(const int32_t *from, size_t step, size_t j, __mmask16 some)
{
    return (step == 0U) ? _mm512_set1_epi32(*from) : _mm512_maskz_loadu_epi32(some, &from[j]);
}

/* Q15 products rounded down: those of every other lane at once, of 64 bits. */
static inline __m512i decayed(__m512i v, __m512i factor)
{
    const __m512i even = _mm512_mul_epi32(v, factor);
    const __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(v, 32), _mm512_srli_epi64(factor, 32));
    return _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 15), 0xAAAA, _mm512_slli_epi64(odd, 17));
}

static inline __m512i saturated(__m512i v, const l2mu_neurons_i32_t *p)
{
    const __m512i below_high = _mm512_min_epi32(v, _mm512_set1_epi32(p->high));
    return _mm512_max_epi32(below_high, _mm512_set1_epi32(p->low));
}

/* What is left of decayed membranes where neurons have `fired`. */
L2MU_INLINE __m512i after_spikes(__m512i v, __mmask16 fired, __m512i threshold, l2mu_reset_t reset)
{
    switch (reset) {
    case L2MU_SUBTRACT: return _mm512_mask_sub_epi32(v, fired, v, threshold);
    case L2MU_NONE: return v;
    default: return _mm512_mask_mov_epi32(v, fired, _mm512_setzero_si512());
    }
}

/* Write the numbers of the neurons that have `fired`; lane 0 is number `first`. */
static inline uint16_t *listed(uint16_t *next, __mmask16 fired, size_t first)
{
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32((int32_t)first));
    const uint32_t count = (uint32_t)__builtin_popcount(fired);
    const __mmask16 written = (__mmask16)((1U << count) - 1U);
    if (fired != 0U) {
        _mm512_mask_cvtepi32_storeu_epi16(next, written, _mm512_maskz_compress_epi32(fired, numbers));
    }
    return &next[count];
}

static inline __m512i biased(__m512i v, const int32_t *bias, size_t j, __mmask16 some)
{
    return (bias == NULL) ? v : _mm512_add_epi32(v, _mm512_maskz_loadu_epi32(some, &bias[j]));
}

L2MU_INLINE void fire(const l2mu_neurons_i32_t *record, int32_t *v, uint16_t *spikes,
                      l2mu_reset_t reset)
{
    const l2mu_neurons_i32_t p = *record;
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < p.size; j += LANES) {
        const __mmask16 some = lanes_below(p.size - j);
        const __m512i membranes = saturated(_mm512_maskz_loadu_epi32(some, &v[j]), &p);
        const __m512i threshold = values(p.threshold, p.threshold_step, j, some);
        const __mmask16 fired = _mm512_mask_cmpgt_epi32_mask(some, membranes, threshold);
        const __m512i left = decayed(membranes, values(p.beta, p.beta_step, j, some));
        const __m512i after = after_spikes(left, fired, threshold, reset);
        _mm512_mask_storeu_epi32(&v[j], some, biased(after, p.bias, j, some));
        next = listed(next, fired, j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_subtract_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_zero_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_ZERO);
}

void l2mu_fire_none_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_NONE);
}

/* Membranes of current-based neurons a step after v. */
L2MU_INLINE __m512i integrated(const l2mu_neurons_i32_t *p, __m512i left, __mmask16 fired,
                               __m512i threshold, __m512i current, l2mu_reset_t reset)
{
    if (reset == L2MU_CLAMP) {
        const __m512i next = saturated(_mm512_add_epi32(left, current), p);
        return after_spikes(next, fired, threshold, reset);
    }
    const __m512i after = after_spikes(left, fired, threshold, reset);
    return saturated(_mm512_add_epi32(after, current), p);
}

L2MU_INLINE void fire_synaptic(const l2mu_neurons_i32_t *record, int32_t *v, int32_t *syn,
                               uint16_t *spikes, l2mu_reset_t reset)
{
    const l2mu_neurons_i32_t p = *record;
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < p.size; j += LANES) {
        const __mmask16 some = lanes_below(p.size - j);
        const __m512i current = saturated(_mm512_maskz_loadu_epi32(some, &syn[j]), &p);
        const __m512i before = _mm512_maskz_loadu_epi32(some, &v[j]);
        const __m512i threshold = values(p.threshold, p.threshold_step, j, some);
        const __m512i left = decayed(before, values(p.beta, p.beta_step, j, some));
        const __mmask16 fired = _mm512_mask_cmpgt_epi32_mask(some, before, threshold);
        const __m512i after = integrated(&p, left, fired, threshold, current, reset);
        const __m512i kept = decayed(current, values(p.alpha, p.alpha_step, j, some));
        _mm512_mask_storeu_epi32(&v[j], some, after);
        _mm512_mask_storeu_epi32(&syn[j], some, biased(kept, p.bias, j, some));
        next = listed(next, _mm512_mask_cmpgt_epi32_mask(some, after, threshold), j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_synaptic_subtract_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                            uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_synaptic_zero_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_ZERO);
}

void l2mu_fire_synaptic_clamp_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                         uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_CLAMP);
}

void l2mu_fire_synaptic_none_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_NONE);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
