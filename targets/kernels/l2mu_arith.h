/* Integer arithmetic shared by the kernels. */
#ifndef L2MU_ARITH_H
#define L2MU_ARITH_H

#include <stdint.h>

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

/* Q15 product rounded down. */
static inline int32_t l2mu_decay(int32_t factor, int32_t state)
{
    const int64_t product = (int64_t)factor * state;
    return (int32_t)((product < 0) ? ~(~product >> 15U) : (product >> 15U));
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

#endif
