/* For processors with NEON, 32 and 64 bits: four int16 sums at a time. */
#ifndef __ARM_NEON
#error "this file is for processors with NEON; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#include "l2mu_kernels.h"

/* A loop that is not worth unrolling. */
#ifdef __clang__
#define ONE_BY_ONE _Pragma("clang loop unroll(disable)")
#else
#define ONE_BY_ONE
#endif

/* Four weights to four neighbours. */
static inline void add_quad(int16_t *v, const int8_t *weights)
{
    uint32_t four;
    (void)memcpy(&four, weights, sizeof four);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    vst1_s16(v, vadd_s16(vld1_s16(v), vget_low_s16(wide)));
}

/* Fours of targets; the last four end with the last target, and begin with weights of zero where they
 * overlap others. Fewer than four go one by one. */
static inline void add_block_row(int16_t *v, const int8_t *weights, size_t rows)
{
    if (rows >= 4U) {
        ONE_BY_ONE
        for (size_t row = 0; (row + 4U) < rows; row += 4U) {
            add_quad(&v[row], &weights[row]);
        }
        add_quad(&v[rows - 4U], &weights[(rows - 1U) / 4U * 4U]);
    } else {
        ONE_BY_ONE
        for (size_t row = 0; row < rows; ++row) {
            v[row] = (int16_t)(v[row] + weights[row]);
        }
    }
}

/* From the weights of one source to those of the next. */
static inline size_t block_stride(size_t rows)
{
    return (rows >= 4U) ? ((rows + 3U) / 4U * 4U) : rows;
}

/* How often a divisor goes into numbers of 16 bits, without an instruction for that if there is none. */
typedef struct {
    uint32_t divisor;
#ifndef __ARM_FEATURE_IDIV
    uint32_t inverse; /* (2^32 - 1) / divisor, rounded down */
#endif
} division_t;

static inline division_t division_by(uint32_t divisor)
{
#ifdef __ARM_FEATURE_IDIV
    const division_t by = {divisor};
#else
    const division_t by = {divisor, UINT32_MAX / divisor};
#endif
    return by;
}

static inline uint32_t quotient(uint32_t number, division_t by)
{
#ifdef __ARM_FEATURE_IDIV
    return number / by.divisor;
#else
    return (uint32_t)(((uint64_t)by.inverse * (number + 1U)) >> 32U);
#endif
}

static inline void add_blocks(int16_t *v, size_t rows, uint32_t columns, bool shared,
                              const int8_t *weights, const uint16_t *spikes)
{
    const size_t stride = block_stride(rows);
    const division_t by_columns = division_by(columns);
    const uint16_t *const end = &spikes[1U + spikes[0]];
    ONE_BY_ONE
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = quotient(*spike, by_columns);
        const uint32_t source = shared ? (*spike - (block * columns)) : *spike;
        add_block_row(&v[block * rows], &weights[source * stride], rows);
    }
}

/* Do so for blocks of four rows. */
#ifdef __aarch64__
#define FOURS(name, find_row)                                                                      \
    static inline void name(int16_t *v, uint32_t columns, const int8_t *weights,                   \
                            const uint16_t *spikes)                                                \
    {                                                                                              \
        const uint16_t *const end = &spikes[1U + spikes[0]];                                       \
        const uint16_t *spike = &spikes[1];                                                        \
        uint64_t source;                                                                           \
        uint64_t block;                                                                            \
        if (spike == end) {                                                                        \
            return;                                                                                \
        }                                                                                          \
        __asm__ volatile("1:  ldrh   %w[source], [%[spike]], #2\n"                                  \
                         "    udiv   %w[block], %w[source], %w[columns]\n" find_row                 \
                         "    ldr    s0, [%[weights], %[source], lsl #2]\n"                         \
                         "    ldr    d1, [%[v], %[block], lsl #3]\n"                                \
                         "    saddw  v1.8h, v1.8h, v0.8b\n"                                         \
                         "    str    d1, [%[v], %[block], lsl #3]\n"                                \
                         "    cmp    %[spike], %[end]\n"                                            \
                         "    b.ne   1b\n"                                                          \
                         : [spike] "+&r"(spike), [source] "=&r"(source), [block] "=&r"(block)      \
                         : [v] "r"(v), [columns] "r"(columns), [weights] "r"(weights),             \
                           [end] "r"(end)                                                          \
                         : "v0", "v1", "cc", "memory");                                            \
    }

FOURS(add_shared_fours, "    msub   %w[source], %w[block], %w[columns], %w[source]\n")
FOURS(add_distinct_fours, "")
#else
static inline void add_shared_fours(int16_t *v, uint32_t columns, const int8_t *weights,
                                    const uint16_t *spikes)
{
    add_blocks(v, 4U, columns, true, weights, spikes);
}

static inline void add_distinct_fours(int16_t *v, uint32_t columns, const int8_t *weights,
                                      const uint16_t *spikes)
{
    add_blocks(v, 4U, columns, false, weights, spikes);
}
#endif

void l2mu_accumulate_shared_i8_i16_neon(int16_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes)
{
    if ((rows == 4U) && (columns == 1U)) {
        add_blocks(v, 4U, 1U, true, weights, spikes);
    } else if (rows == 4U) {
        add_shared_fours(v, columns, weights, spikes);
    } else {
        add_blocks(v, rows, columns, true, weights, spikes);
    }
}

void l2mu_accumulate_distinct_i8_i16_neon(int16_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes)
{
    if (rows == 4U) {
        add_distinct_fours(v, columns, weights, spikes);
    } else {
        add_blocks(v, rows, columns, false, weights, spikes);
    }
}
