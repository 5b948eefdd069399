/* For x86-64 processors with AVX2: 8 int32 neurons in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2")
#endif
#include <immintrin.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#endif

#define LANES ((size_t)8)

/* The lanes that are there of the next register. */
static inline __m256i lanes_below(size_t count)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), lanes);
}

/* One value for each of the lanes that are there, or the same for all. */
static inline __m256i values(const int32_t *from, size_t step, size_t j, __m256i some)
{
    return (step == 0U) ? _mm256_set1_epi32(*from) : _mm256_maskload_epi32(&from[j], some);
}

/* Q15 products rounded down: those of every other lane at once, of 64 bits. */
static inline __m256i decayed(__m256i v, __m256i factor)
{
    const __m256i even = _mm256_mul_epi32(v, factor);
    const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(v, 32), _mm256_srli_epi64(factor, 32));
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 15), _mm256_slli_epi64(odd, 17), 0xAA);
}

static inline __m256i saturated(__m256i v, const l2mu_neurons_i32_t *p)
{
    const __m256i below_high = _mm256_min_epi32(v, _mm256_set1_epi32(p->high));
    return _mm256_max_epi32(below_high, _mm256_set1_epi32(p->low));
}

/* What is left of decayed membranes where neurons have `fired`. */
L2MU_INLINE __m256i after_spikes(__m256i v, __m256i fired, __m256i threshold, l2mu_reset_t reset)
{
    switch (reset) {
    case L2MU_SUBTRACT: return _mm256_sub_epi32(v, _mm256_and_si256(fired, threshold));
    case L2MU_NONE: return v;
    default: return _mm256_andnot_si256(fired, v);
    }
}

/* Write the numbers of the neurons that have `fired`; lane 0 is number `first`. */
static inline uint16_t *listed(uint16_t *next, __m256i fired, size_t first)
{
    uint16_t *end = next;
    uint32_t left = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(fired));
    for (; left != 0U; left &= left - 1U) {
        *end = (uint16_t)(first + (size_t)__builtin_ctz(left));
        ++end;
    }
    return end;
}

static inline __m256i biased(__m256i v, const int32_t *bias, size_t j, __m256i some)
{
    return (bias == NULL) ? v : _mm256_add_epi32(v, _mm256_maskload_epi32(&bias[j], some));
}

L2MU_INLINE void fire(const l2mu_neurons_i32_t *record, int32_t *v, uint16_t *spikes,
                      l2mu_reset_t reset)
{
    const l2mu_neurons_i32_t p = *record;
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < p.size; j += LANES) {
        const __m256i some = lanes_below(p.size - j);
        const __m256i membranes = saturated(_mm256_maskload_epi32(&v[j], some), &p);
        const __m256i threshold = values(p.threshold, p.threshold_step, j, some);
        const __m256i fired = _mm256_and_si256(_mm256_cmpgt_epi32(membranes, threshold), some);
        const __m256i left = decayed(membranes, values(p.beta, p.beta_step, j, some));
        const __m256i after = after_spikes(left, fired, threshold, reset);
        _mm256_maskstore_epi32(&v[j], some, biased(after, p.bias, j, some));
        next = listed(next, fired, j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_subtract_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_zero_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_ZERO);
}

void l2mu_fire_none_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    fire(p, v, spikes, L2MU_NONE);
}

/* Membranes of current-based neurons a step after v. */
L2MU_INLINE __m256i integrated(const l2mu_neurons_i32_t *p, __m256i left, __m256i fired,
                               __m256i threshold, __m256i current, l2mu_reset_t reset)
{
    if (reset == L2MU_CLAMP) {
        const __m256i next = saturated(_mm256_add_epi32(left, current), p);
        return after_spikes(next, fired, threshold, reset);
    }
    const __m256i after = after_spikes(left, fired, threshold, reset);
    return saturated(_mm256_add_epi32(after, current), p);
}

L2MU_INLINE void fire_synaptic(const l2mu_neurons_i32_t *record, int32_t *v, int32_t *syn,
                               uint16_t *spikes, l2mu_reset_t reset)
{
    const l2mu_neurons_i32_t p = *record;
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < p.size; j += LANES) {
        const __m256i some = lanes_below(p.size - j);
        const __m256i current = saturated(_mm256_maskload_epi32(&syn[j], some), &p);
        const __m256i before = _mm256_maskload_epi32(&v[j], some);
        const __m256i threshold = values(p.threshold, p.threshold_step, j, some);
        const __m256i left = decayed(before, values(p.beta, p.beta_step, j, some));
        const __m256i fired = _mm256_cmpgt_epi32(before, threshold);
        const __m256i after = integrated(&p, left, fired, threshold, current, reset);
        const __m256i kept = decayed(current, values(p.alpha, p.alpha_step, j, some));
        _mm256_maskstore_epi32(&v[j], some, after);
        _mm256_maskstore_epi32(&syn[j], some, biased(kept, p.bias, j, some));
        next = listed(next, _mm256_and_si256(_mm256_cmpgt_epi32(after, threshold), some), j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_synaptic_subtract_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                          uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_SUBTRACT);
}

void l2mu_fire_synaptic_zero_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_ZERO);
}

void l2mu_fire_synaptic_clamp_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                       uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_CLAMP);
}

void l2mu_fire_synaptic_none_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, L2MU_NONE);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
