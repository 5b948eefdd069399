/* For x86-64 processors with AVX-512: 16 neurons in a register. */
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

#define LANES ((size_t)16)

enum reset { SUBTRACT, ZERO, CLAMP, NONE };

/* Rounded before anything is added to it, whatever a compiler would like to fuse. */
static inline __m512 product(__m512 a, __m512 b)
{
    __m512 rounded = _mm512_mul_ps(a, b);
    __asm__("" : "+v"(rounded));
    return rounded;
}

/* One value for each lane that is there, or the same for all. */
static inline __m512 values(const float *from, size_t step, size_t j, __mmask16 some)
{
    return (step == 0U) ? _mm512_set1_ps(*from) : _mm512_maskz_loadu_ps(some, &from[j]);
}

/* Write the numbers of the neurons in `fired`; lane 0 is number `first`. */
static inline uint16_t *listed(uint16_t *next, __mmask16 fired, size_t first)
{
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32((int32_t)first));
    const uint32_t count = (uint32_t)__builtin_popcount(fired);
    const __mmask16 written = (__mmask16)((1U << count) - 1U);
    _mm512_mask_cvtepi32_storeu_epi16(next, written, _mm512_maskz_compress_epi32(fired, numbers));
    return &next[count];
}

static inline __attribute__((always_inline)) void
fire(const l2mu_neurons_f32_t *record, float *v, uint16_t *spikes, enum reset reset)
{
    const l2mu_neurons_f32_t p = *record;
    const size_t size = p.size;
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < size; j += LANES) {
        const size_t left = size - j;
        const __mmask16 some = (__mmask16)((left < LANES) ? ((1U << left) - 1U) : 0xFFFFU);
        const __m512 membranes = _mm512_maskz_loadu_ps(some, &v[j]);
        const __m512 threshold = values(p.threshold, p.threshold_step, j, some);
        const __mmask16 fired = _mm512_mask_cmp_ps_mask(some, membranes, threshold, _CMP_GT_OQ);
        __m512 after = product(values(p.beta, p.beta_step, j, some), membranes);
        if (reset == SUBTRACT) {
            after = _mm512_mask_sub_ps(after, fired, after, threshold);
        }
        if (reset == ZERO) {
            after = _mm512_mask_mov_ps(after, fired, _mm512_setzero_ps());
        }
        if (p.bias != NULL) {
            after = _mm512_add_ps(after, _mm512_maskz_loadu_ps(some, &p.bias[j]));
        }
        _mm512_mask_storeu_ps(&v[j], some, after);
        next = listed(next, fired, j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_subtract_f32_avx512(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, SUBTRACT);
}

void l2mu_fire_zero_f32_avx512(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, ZERO);
}

void l2mu_fire_none_f32_avx512(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    fire(p, v, spikes, NONE);
}

static inline __attribute__((always_inline)) void
fire_synaptic(const l2mu_neurons_f32_t *record, float *v, float *syn, uint16_t *spikes,
              enum reset reset)
{
    const l2mu_neurons_f32_t p = *record;
    const size_t size = p.size;
    uint16_t *next = &spikes[1];
    for (size_t j = 0; j < size; j += LANES) {
        const size_t left = size - j;
        const __mmask16 some = (__mmask16)((left < LANES) ? ((1U << left) - 1U) : 0xFFFFU);
        const __m512 before = _mm512_maskz_loadu_ps(some, &v[j]);
        const __m512 currents = _mm512_maskz_loadu_ps(some, &syn[j]);
        const __m512 threshold = values(p.threshold, p.threshold_step, j, some);
        const __mmask16 spiked = _mm512_cmp_ps_mask(before, threshold, _CMP_GT_OQ);
        __m512 membranes = product(values(p.beta, p.beta_step, j, some), before);
        __m512 decayed = product(values(p.alpha, p.alpha_step, j, some), currents);
        if (reset == SUBTRACT) {
            membranes = _mm512_mask_sub_ps(membranes, spiked, membranes, threshold);
        }
        if (reset == ZERO) {
            membranes = _mm512_mask_mov_ps(membranes, spiked, _mm512_setzero_ps());
        }
        membranes = _mm512_add_ps(membranes, currents);
        if (reset == CLAMP) {
            membranes = _mm512_mask_mov_ps(membranes, spiked, _mm512_setzero_ps());
        }
        if (p.bias != NULL) {
            decayed = _mm512_add_ps(decayed, _mm512_maskz_loadu_ps(some, &p.bias[j]));
        }
        _mm512_mask_storeu_ps(&v[j], some, membranes);
        _mm512_mask_storeu_ps(&syn[j], some, decayed);
        next = listed(next, _mm512_mask_cmp_ps_mask(some, membranes, threshold, _CMP_GT_OQ), j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_synaptic_subtract_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                            uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, SUBTRACT);
}

void l2mu_fire_synaptic_zero_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, ZERO);
}

void l2mu_fire_synaptic_clamp_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                         uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, CLAMP);
}

void l2mu_fire_synaptic_none_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes)
{
    fire_synaptic(p, v, syn, spikes, NONE);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
