/* For 32-bit Arm processors with an FPU: sums in its registers; to each, sources are added in their
 * order. Scalar instructions, as vectors of Armv7 and Helium take subnormal numbers for zero. */
#if !defined(__arm__) || !defined(__ARM_FP)
#error "this file is for Arm processors with an FPU; compile the network for this processor, see --target"
#endif

#include <stdbool.h>

#include "l2mu_kernels.h"

/* The spikes to follow, at least one, and how many sources there are. */
typedef struct {
    const uint16_t *spike;
    const uint16_t *end;
    size_t sources;
} rows_t;

#define ADD(sum, weight) "    vadd.f32 s" sum ", s" sum ", s" weight "\n"

/* The address of the next spike's row of 2^shift bytes. */
#define ROW(shift)                        \
    "    ldrh   %[row], [%[spike]], #2\n" \
    "    add    %[row], %[weights], %[row], lsl #" shift "\n"

#define ROW_OF_16                                                                               \
    ROW("6")                                                                                    \
    "    vldmia %[row], {s16-s31}\n"                                                            \
    ADD("0", "16") ADD("1", "17") ADD("2", "18") ADD("3", "19") ADD("4", "20") ADD("5", "21")   \
    ADD("6", "22") ADD("7", "23") ADD("8", "24") ADD("9", "25") ADD("10", "26") ADD("11", "27") \
    ADD("12", "28") ADD("13", "29") ADD("14", "30") ADD("15", "31")

/* The sums of 16 targets stay in s0 to s15 while the rows of all spikes pass by. The first time round
 * enters where the number of rows left is a multiple of four. */
static inline void add_tiles_of_16(float *v, size_t tiles, const float *weights, rows_t rows)
{
    const float *const v_end = &v[tiles * 16U];
    float *sums = v;
    const size_t tile_bytes = rows.sources * 16U * sizeof *weights;
    const uint16_t *spike;
    uintptr_t entry = (uintptr_t)(rows.spike - rows.end) & 3U;
    uintptr_t row;
    __asm__ volatile("    adr    %[row], 2f\n"
                     "    ldr    %[entry], [%[row], %[entry], lsl #2]\n"
                     "    add    %[entry], %[entry], %[row]\n"
                     "1:  vldmia %[v], {s0-s15}\n"
                     "    mov    %[spike], %[first]\n"
                     "    mov    pc, %[entry]\n"
                     "    .p2align 2\n"
                     "2:  .word  3f - 2b, 4f - 2b, 5f - 2b, 6f - 2b\n"
                     "3:\n" ROW_OF_16 "4:\n" ROW_OF_16 "5:\n" ROW_OF_16 "6:\n" ROW_OF_16
                     "    cmp    %[spike], %[end]\n"
                     "    bne    3b\n"
                     "    vstmia %[v]!, {s0-s15}\n"
                     "    add    %[weights], %[weights], %[tile_bytes]\n"
                     "    cmp    %[v], %[v_end]\n"
                     "    bne    1b\n"
                     : [v] "+&r"(sums), [weights] "+&r"(weights), [entry] "+&r"(entry),
                       [spike] "=&r"(spike), [row] "=&r"(row)
                     : [v_end] "r"(v_end), [first] "r"(rows.spike), [end] "r"(rows.end),
                       [tile_bytes] "r"(tile_bytes)
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
                       "s10", "s11", "s12", "s13", "s14", "s15", "s16", "s17", "s18", "s19", "s20",
                       "s21", "s22", "s23", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31");
}

/* A tile of less than 16 targets, whose sums are s0 and up and whose rows have 2^shift bytes. */
#define TILE(width, shift, first_sums, row_of_weights, add_row)                                  \
    static inline void add_tile_of_##width(float *v, const float *weights, rows_t rows)          \
    {                                                                                            \
        const uint16_t *spike = rows.spike;                                                      \
        float *const sums = v;                                                                   \
        uintptr_t row;                                                                           \
        __asm__ volatile("    vldmia %[v], {" first_sums "}\n"                                   \
                         "1:\n" ROW(shift)                                                       \
                         "    vldmia %[row], {" row_of_weights "}\n" add_row                     \
                         "    cmp    %[spike], %[end]\n"                                         \
                         "    bne    1b\n"                                                       \
                         "    vstmia %[v], {" first_sums "}\n"                                   \
                         : [spike] "+&r"(spike), [row] "=&r"(row)                                \
                         : [v] "r"(sums), [weights] "r"(weights), [end] "r"(rows.end)            \
                         : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", \
                           "s9", "s10", "s11", "s12", "s13", "s14", "s15");                      \
    }

TILE(1, "2", "s0", "s8", ADD("0", "8"))
TILE(2, "3", "s0-s1", "s8-s9", ADD("0", "8") ADD("1", "9"))
TILE(4, "4", "s0-s3", "s8-s11", ADD("0", "8") ADD("1", "9") ADD("2", "10") ADD("3", "11"))
TILE(8, "5", "s0-s7", "s8-s15",
     ADD("0", "8") ADD("1", "9") ADD("2", "10") ADD("3", "11") ADD("4", "12") ADD("5", "13")
         ADD("6", "14") ADD("7", "15"))

void l2mu_accumulate_dense_f32_fpu(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes)
{
    const rows_t rows = {&spikes[1], &spikes[1U + spikes[0]], p->sources};
    const size_t tiles = p->targets / 16U;
    size_t done = tiles * 16U;
    if (rows.spike == rows.end) {
        return;
    }
    if (tiles != 0U) {
        add_tiles_of_16(v, tiles, p->weights, rows);
    }
    if ((p->targets & 8U) != 0U) {
        add_tile_of_8(&v[done], &p->weights[done * rows.sources], rows);
        done += 8U;
    }
    if ((p->targets & 4U) != 0U) {
        add_tile_of_4(&v[done], &p->weights[done * rows.sources], rows);
        done += 4U;
    }
    if ((p->targets & 2U) != 0U) {
        add_tile_of_2(&v[done], &p->weights[done * rows.sources], rows);
        done += 2U;
    }
    if ((p->targets & 1U) != 0U) {
        add_tile_of_1(&v[done], &p->weights[done * rows.sources], rows);
    }
}

/* Four weights to four neighbours. */
static inline void add_four(float *v, const float *weights)
{
    float *const sums = v;
    __asm__ volatile("    vldmia %[v], {s0-s3}\n"
                     "    vldmia %[weights], {s4-s7}\n"
                     ADD("0", "4") ADD("1", "5") ADD("2", "6") ADD("3", "7")
                     "    vstmia %[v], {s0-s3}\n"
                     :
                     : [v] "r"(sums), [weights] "r"(weights)
                     : "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7");
}

static inline void add_block_row(float *v, const float *weights, size_t rows)
{
    size_t row = 0;
    for (; (row + 4U) <= rows; row += 4U) {
        add_four(&v[row], &weights[row]);
    }
    for (; row < rows; ++row) {
        v[row] += weights[row];
    }
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

static inline __attribute__((always_inline)) void
add_blocks(float *v, size_t rows, uint32_t columns, bool shared, const float *weights,
           const uint16_t *spikes)
{
    const division_t by_columns = division_by(columns);
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = quotient(*spike, by_columns);
        const uint32_t source = shared ? (*spike - (block * columns)) : *spike;
        add_block_row(&v[block * rows], &weights[source * rows], rows);
    }
}

void l2mu_accumulate_shared_f32_fpu(float *v, uint16_t rows, uint16_t columns,
                                    const float *weights, const uint16_t *spikes)
{
    if (rows == 4U) {
        add_blocks(v, 4U, columns, true, weights, spikes);
    } else {
        add_blocks(v, rows, columns, true, weights, spikes);
    }
}

void l2mu_accumulate_distinct_f32_fpu(float *v, uint16_t rows, uint16_t columns,
                                      const float *weights, const uint16_t *spikes)
{
    if (rows == 4U) {
        add_blocks(v, 4U, columns, false, weights, spikes);
    } else {
        add_blocks(v, rows, columns, false, weights, spikes);
    }
}
