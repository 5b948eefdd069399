/* For x86-64 processors with AVX2: 8 neurons in a register. */
#ifndef __x86_64__
#error "for x86-64 processors; compile the network for this processor, see --target"
#endif

/* Whatever processor the compiler is told of. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2")
#endif
#include <immintrin.h>

#include "l2mu_kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#endif

#define LANES ((size_t)8)

enum reset { SUBTRACT, ZERO, CLAMP, NONE };

/* Rounded before anything is added to it, whatever a compiler would like to fuse. */
static inline __m256 product(__m256 a, __m256 b)
{
    __m256 rounded = _mm256_mul_ps(a, b);
    __asm__("" : "+x"(rounded));
    return rounded;
}

/* One value for each of the lanes that are there, or the same for all. */
static inline __m256 values(const float *from, size_t step, size_t j, __m256i some)
{
    return (step == 0U) ? _mm256_set1_ps(*from) : _mm256_maskload_ps(&from[j], some);
}

/* Write the numbers of the neurons that have a bit in `fired`; the lowest is number `first`. */
static inline uint16_t *listed(uint16_t *next, uint32_t fired, size_t first)
{
    uint16_t *end = next;
    for (uint32_t left = fired; left != 0U; left &= left - 1U) {
        *end = (uint16_t)(first + (size_t)__builtin_ctz(left));
        ++end;
    }
    return end;
}

static inline __attribute__((always_inline)) void
fire(const l2mu_neurons_f32_t *record, float *v, uint16_t *spikes, enum reset reset)
{
    const l2mu_neurons_f32_t p = *record;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < p.size; j += LANES) {
        const __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)(p.size - j)), lanes);
        const __m256 membranes = _mm256_maskload_ps(&v[j], some);
        const __m256 threshold = values(p.threshold, p.threshold_step, j, some);
        const __m256 fired = _mm256_cmp_ps(membranes, threshold, _CMP_GT_OQ);
        __m256 after = product(values(p.beta, p.beta_step, j, some), membranes);
        if (reset == SUBTRACT) {
            after = _mm256_sub_ps(after, _mm256_and_ps(fired, threshold));
        }
        if (reset == ZERO) {
            after = _mm256_andnot_ps(fired, after);
        }
        if (p.bias != NULL) {
            after = _mm256_add_ps(after, _mm256_maskload_ps(&p.bias[j], some));
        }
        _mm256_maskstore_ps(&v[j], some, after);
        next = listed(next, (uint32_t)_mm256_movemask_ps(fired), j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_subtract_f32_avx2(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, SUBTRACT);
}

void l2mu_fire_zero_f32_avx2(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, ZERO);
}

void l2mu_fire_none_f32_avx2(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, NONE);
}

static inline __attribute__((always_inline)) void
fire_synaptic(const l2mu_neurons_f32_t *record, float *v, float *syn, uint16_t *spikes,
              enum reset reset)
{
    const l2mu_neurons_f32_t p = *record;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < p.size; j += LANES) {
        const __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)(p.size - j)), lanes);
        const __m256 before = _mm256_maskload_ps(&v[j], some);
        const __m256 currents = _mm256_maskload_ps(&syn[j], some);
        const __m256 threshold = values(p.threshold, p.threshold_step, j, some);
        const __m256 spiked = _mm256_cmp_ps(before, threshold, _CMP_GT_OQ);
        __m256 membranes = product(values(p.beta, p.beta_step, j, some), before);
        __m256 left = product(values(p.alpha, p.alpha_step, j, some), currents);
        if (reset == SUBTRACT) {
            membranes = _mm256_sub_ps(membranes, _mm256_and_ps(spiked, threshold));
        }
        if (reset == ZERO) {
            membranes = _mm256_andnot_ps(spiked, membranes);
        }
        membranes = _mm256_add_ps(membranes, currents);
        if (reset == CLAMP) {
            membranes = _mm256_andnot_ps(spiked, membranes);
        }
        if (p.bias != NULL) {
            left = _mm256_add_ps(left, _mm256_maskload_ps(&p.bias[j], some));
        }
        _mm256_maskstore_ps(&v[j], some, membranes);
        _mm256_maskstore_ps(&syn[j], some, left);
        const __m256 fired = _mm256_cmp_ps(membranes, threshold, _CMP_GT_OQ);
        next = listed(next, (uint32_t)_mm256_movemask_ps(fired), j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_synaptic_subtract_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                          uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, SUBTRACT);
}

void l2mu_fire_synaptic_zero_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                      uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, ZERO);
}

void l2mu_fire_synaptic_clamp_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                       uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, CLAMP);
}

void l2mu_fire_synaptic_none_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                      uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, NONE);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
