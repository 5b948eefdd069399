/* Arithmetic shared by the kernels. */
#ifndef L2MU_ARITH_H
#define L2MU_ARITH_H

#include "l2mu_kernels.h"

#if L2MU_NARROW_BITS != 14
#error "the limits in this file are those of 14 bits"
#endif

/* A function that is made anew for every constant it is called with. */
#ifdef __GNUC__
#define L2MU_INLINE static inline __attribute__((always_inline))
#else
#define L2MU_INLINE static inline
#endif

/* value / 2^shift rounded down. C leaves >> of a negative number to the implementation; this does
 * not, and compilers turn it into one arithmetic shift. */
static inline int32_t l2mu_floor_shift(int32_t value, uint32_t shift)
{
    return (value < 0) ? ~(~value >> shift) : (value >> shift);
}

/* 2^shift / 2 rounded down: added before a shift that rounds down, it makes one that rounds. */
static inline int32_t l2mu_half(uint32_t shift)
{
    const uint32_t half = ((uint32_t)1U << shift) >> 1U;
    return (int32_t)half;
}

/* Q15 product rounded down, of a factor in [0, 32768]. */
static inline int32_t l2mu_decay(int32_t factor, int32_t state)
{
#if defined(__thumb__) && !defined(__thumb2__)
    /* Armv6-M multiplies 32 bits: the halves of the state, the upper one with its sign, by the factor. */
    const uint32_t upper = (uint32_t)l2mu_floor_shift(state, 16U) * (uint32_t)factor;
    const uint32_t lower = ((uint32_t)state & 0xFFFFU) * (uint32_t)factor;
    return (int32_t)((upper << 1U) + (lower >> 15U));
#else
    const int64_t product = (int64_t)factor * state;
    return (int32_t)((product < 0) ? ~(~product >> 15U) : (product >> 15U));
#endif
}

/* Q16 product rounded down, of a factor in [0, 65536] and a state of 15 bits. */
static inline int32_t l2mu_decay_narrow(int32_t factor, int32_t state)
{
    return l2mu_floor_shift(factor * state, 16U);
}

static inline int32_t l2mu_clip(int32_t value, int32_t low, int32_t high)
{
    return (value < low) ? low : ((value > high) ? high : value);
}

/* A membrane or synapse of L2MU_NARROW_BITS. */
static inline int32_t l2mu_narrow(int32_t value)
{
    return l2mu_clip(value, -8192, 8191);
}

/* What a spike does to the membrane: before it decays, where it says first; clamp does it to what
 * arrives next, too. */
typedef enum {
    L2MU_SUBTRACT,
    L2MU_SUBTRACT_FIRST,
    L2MU_ZERO,
    L2MU_CLAMP,
    L2MU_NONE
} l2mu_reset_t;

/* What is left of a membrane to decay. */
L2MU_INLINE int32_t l2mu_before_decay(int32_t membrane, int32_t threshold, l2mu_reset_t reset)
{
    int32_t before = membrane;
    if ((reset == L2MU_SUBTRACT_FIRST) && (membrane > threshold)) {
        before = membrane - threshold;
    }
    return before;
}

L2MU_INLINE float l2mu_before_decay_f32(float membrane, float threshold, l2mu_reset_t reset)
{
    float before = membrane;
    if ((reset == L2MU_SUBTRACT_FIRST) && (membrane > threshold)) {
        before = membrane - threshold;
    }
    return before;
}

/* A decayed membrane after its spike. */
L2MU_INLINE int32_t l2mu_after_spike(int32_t decayed, int32_t threshold, l2mu_reset_t reset)
{
    int32_t after = 0;
    if (reset == L2MU_SUBTRACT) {
        after = decayed - threshold;
    }
    if ((reset == L2MU_NONE) || (reset == L2MU_SUBTRACT_FIRST)) {
        after = decayed;
    }
    return after;
}

L2MU_INLINE float l2mu_after_spike_f32(float decayed, float threshold, l2mu_reset_t reset)
{
    float after = 0.0f;
    if (reset == L2MU_SUBTRACT) {
        after = decayed - threshold;
    }
    if ((reset == L2MU_NONE) || (reset == L2MU_SUBTRACT_FIRST)) {
        after = decayed;
    }
    return after;
}

#endif
