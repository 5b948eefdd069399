/* For x86-64 processors with AVX2: 16 neurons in a register. */
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

#define LANES ((size_t)16)
#define WORD 64U
#define HIGH ((1 << (L2MU_NARROW_BITS - 1)) - 1)
#define LOW (-HIGH - 1)

enum reset { SUBTRACT, ZERO, CLAMP, NONE };

/* Decays Q16 as their low halves, and ones where a product of the signed low half is one v short. */
typedef struct {
    __m256i low;
    __m256i more;
} decays_t;

/* Eight elements, or 16 if they are `all` there. */
static inline __m256i load(const int16_t *from, int all)
{
    const __m128i *const eight = (const __m128i *)(const void *)from;
    return (all != 0) ? _mm256_loadu_si256((const __m256i *)(const void *)from)
                      : _mm256_zextsi128_si256(_mm_loadu_si128(eight));
}

static inline void store(int16_t *to, int all, __m256i values)
{
    if (all != 0) {
        _mm256_storeu_si256((__m256i *)(void *)to, values);
    } else {
        _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(values));
    }
}

static inline decays_t one_decay(int32_t beta)
{
    return (decays_t){_mm256_set1_epi16((int16_t)beta), _mm256_set1_epi16((beta > 32767) ? -1 : 0)};
}

static inline decays_t own_decays(const int32_t *beta, int all)
{
    const __m256i first = _mm256_loadu_si256((const __m256i *)(const void *)beta);
    const __m256i second = (all != 0) ? _mm256_loadu_si256((const __m256i *)(const void *)&beta[8])
                                      : _mm256_setzero_si256();
    const __m256i half = _mm256_set1_epi32(32767);
    const __m256i mask = _mm256_set1_epi32(65535);
    const __m256i low =
        _mm256_packus_epi32(_mm256_and_si256(first, mask), _mm256_and_si256(second, mask));
    const __m256i more =
        _mm256_packs_epi32(_mm256_cmpgt_epi32(first, half), _mm256_cmpgt_epi32(second, half));
    /* Packing is done in each half of a register. */
    return (decays_t){_mm256_permute4x64_epi64(low, 0xD8), _mm256_permute4x64_epi64(more, 0xD8)};
}

/* A bit for each element. */
static inline uint64_t bits_of(__m256i ones)
{
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(ones), _mm256_extracti128_si256(ones, 1));
    return (uint32_t)_mm_movemask_epi8(bytes);
}

static inline __m256i saturated(__m256i values)
{
    const __m256i below_high = _mm256_min_epi16(values, _mm256_set1_epi16(HIGH));
    return _mm256_max_epi16(below_high, _mm256_set1_epi16(LOW));
}

static inline __m256i decayed(__m256i values, decays_t by)
{
    return _mm256_add_epi16(_mm256_mulhi_epi16(values, by.low),
                            _mm256_and_si256(by.more, values));
}

/* What is left of decayed membranes where neurons have `fired`. */
static inline __attribute__((always_inline)) __m256i
after_spikes(__m256i membranes, __m256i fired, __m256i threshold, enum reset reset)
{
    switch (reset) {
    case SUBTRACT: return _mm256_sub_epi16(membranes, _mm256_and_si256(fired, threshold));
    case NONE: return membranes;
    default: return _mm256_andnot_si256(fired, membranes);
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

/* Which of the neurons from j on spike, a bit for each; 8 of them, or 16 if they are `all` there. */
static inline __attribute__((always_inline)) uint64_t
fire_some(neurons_t p, int16_t *v, size_t j, int all, enum reset reset)
{
    const decays_t beta = (p.beta == NULL) ? p.one_beta : own_decays(&p.beta[j], all);
    const __m256i threshold = load(&p.threshold[j], all);
    const __m256i membranes = saturated(load(&v[j], all));
    const __m256i fired = _mm256_cmpgt_epi16(membranes, threshold);
    __m256i after = after_spikes(decayed(membranes, beta), fired, threshold, reset);
    if (p.bias != NULL) {
        after = _mm256_add_epi16(after, load(&p.bias[j], all));
    }
    store(&v[j], all, after);
    return bits_of(fired);
}

/* The same of current-based neurons. */
static inline __attribute__((always_inline)) uint64_t
integrate_some(neurons_t p, int16_t *v, int16_t *syn, size_t j, int all, enum reset reset)
{
    const decays_t alpha = (p.alpha == NULL) ? p.one_alpha : own_decays(&p.alpha[j], all);
    const decays_t beta = (p.beta == NULL) ? p.one_beta : own_decays(&p.beta[j], all);
    const __m256i threshold = load(&p.threshold[j], all);
    const __m256i current = saturated(load(&syn[j], all));
    const __m256i start = load(&v[j], all);
    const __m256i spiked = _mm256_cmpgt_epi16(start, threshold);
    __m256i membranes = decayed(start, beta);
    if (reset != CLAMP) {
        membranes = after_spikes(membranes, spiked, threshold, reset);
    }
    membranes = saturated(_mm256_add_epi16(membranes, current));
    if (reset == CLAMP) {
        membranes = after_spikes(membranes, spiked, threshold, reset);
    }
    __m256i after = decayed(current, alpha);
    if (p.bias != NULL) {
        after = _mm256_add_epi16(after, load(&p.bias[j], all));
    }
    store(&v[j], all, membranes);
    store(&syn[j], all, after);
    return bits_of(_mm256_cmpgt_epi16(membranes, threshold));
}

static inline __attribute__((always_inline)) uint64_t
step_some(neurons_t p, int16_t *v, int16_t *syn, size_t j, int all, enum reset reset)
{
    return (syn == NULL) ? fire_some(p, v, j, all, reset)
                         : integrate_some(p, v, syn, j, all, reset);
}

static inline uint16_t *listed(uint16_t *next, uint64_t fired, size_t first)
{
    uint16_t *end = next;
    for (uint64_t left = fired; left != 0U; left &= left - 1U) {
        *end = (uint16_t)(first + (uint32_t)__builtin_ctzll(left));
        ++end;
    }
    return end;
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
    for (; (j + WORD) <= size; j += WORD) {
        uint64_t fired = 0;
        for (size_t k = 0; k < WORD; k += LANES) {
            fired |= step_some(p, v, syn, j + k, 1, reset) << k;
        }
        next = listed(next, fired, j);
    }
    for (; (j + (LANES / 2U)) < size; j += LANES) {
        next = listed(next, step_some(p, v, syn, j, 1, reset), j);
    }
    if (j < size) {
        next = listed(next, step_some(p, v, syn, j, 0, reset), j);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_fire_subtract_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    step(p, v, NULL, spikes, SUBTRACT);
}

void l2mu_fire_zero_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    step(p, v, NULL, spikes, ZERO);
}

void l2mu_fire_none_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    step(p, v, NULL, spikes, NONE);
}

void l2mu_fire_synaptic_subtract_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                          uint16_t *spikes)
{
    step(p, v, syn, spikes, SUBTRACT);
}

void l2mu_fire_synaptic_zero_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes)
{
    step(p, v, syn, spikes, ZERO);
}

void l2mu_fire_synaptic_clamp_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                       uint16_t *spikes)
{
    step(p, v, syn, spikes, CLAMP);
}

void l2mu_fire_synaptic_none_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes)
{
    step(p, v, syn, spikes, NONE);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
