/* For Armv7-A with NEON: up to 96 int16 sums in registers. */
#if defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file is for Armv7-A with NEON; compile the network for this processor, see --target"
#endif

#include <stddef.h>

#include "l2mu_kernels.h"

/* The spikes to follow, at least one, and how far the weights of two sources are apart. */
typedef struct {
    const uint16_t *spike;
    const uint16_t *end;
    size_t stride;
} rows_t;

/* Assembly for a tile of targets: its sums stay in registers while the rows of all spikes pass by. */
#define ADD_32(first, second, third, fourth)      \
    "    vaddw.s8 q" first ", q" first ", d24\n"   \
    "    vaddw.s8 q" second ", q" second ", d25\n" \
    "    vaddw.s8 q" third ", q" third ", d26\n"   \
    "    vaddw.s8 q" fourth ", q" fourth ", d27\n"
#define ADD_64                            \
    "    vldmia %[row]!, {d24-d31}\n"      \
    ADD_32("0", "1", "2", "3")            \
    "    vaddw.s8 q8, q8, d28\n"           \
    "    vaddw.s8 q9, q9, d29\n"           \
    "    vaddw.s8 q10, q10, d30\n"         \
    "    vaddw.s8 q11, q11, d31\n"
#define ROW                                \
    "    ldrh   %[row], [%[spike]], #2\n"   \
    "    mla    %[row], %[row], %[stride], %[weights]\n"

/* Two rows at a time; the first time round only one if their number is odd. */
#define TILE(width, load, row_of_weights, store, ...)                                             \
    static inline void add_tile_of_##width(int16_t *v, const int8_t *weights, rows_t rows)        \
    {                                                                                             \
        const uint16_t *spike = rows.spike;                                                       \
        int16_t *out = v;                                                                         \
        const int8_t *row;                                                                        \
        const ptrdiff_t count = rows.end - rows.spike;                                            \
        __asm__ volatile(load                                                                     \
                         "    tst    %[count], #1\n"                                              \
                         "    bne    2f\n"                                                        \
                         "1:\n" ROW row_of_weights "2:\n" ROW row_of_weights                      \
                         "    cmp    %[spike], %[end]\n"                                          \
                         "    bne    1b\n" store                                                  \
                         : [v] "+&r"(v), [out] "+&r"(out), [spike] "+&r"(spike), [row] "=&r"(row) \
                         : [weights] "r"(weights), [stride] "r"(rows.stride), [end] "r"(rows.end),\
                           [count] "r"(count)                                                     \
                         : "cc", "memory", "q0", "q1", "q2", "q3", "q8", "q9", "q10", "q11",      \
                           "q12", "q13", "q14", "q15" __VA_ARGS__);                               \
    }

#define LOAD(registers) "    vldmia %[v]!, {" registers "}\n"
#define STORE(registers) "    vstmia %[out]!, {" registers "}\n"

TILE(8, LOAD("d0-d1"), "    vldmia %[row]!, {d24}\n    vaddw.s8 q0, q0, d24\n", STORE("d0-d1"), )
TILE(32, LOAD("d0-d7"), "    vldmia %[row]!, {d24-d27}\n" ADD_32("0", "1", "2", "3"),
     STORE("d0-d7"), )
TILE(64, LOAD("d0-d7") LOAD("d16-d23"), ADD_64, STORE("d0-d7") STORE("d16-d23"), )
TILE(96, LOAD("d0-d7") LOAD("d16-d23") LOAD("d8-d15"),
     ADD_64 "    vldmia %[row]!, {d24-d27}\n" ADD_32("4", "5", "6", "7"),
     STORE("d0-d7") STORE("d16-d23") STORE("d8-d15"), , "q4", "q5", "q6", "q7")

/* Add to one tile, the widest of those left: how many targets it has. */
static inline size_t add_widest_tile(int16_t *v, const int8_t *weights, rows_t rows, size_t left)
{
    if (left >= 96U) {
        add_tile_of_96(v, weights, rows);
        return 96U;
    }
    if (left >= 64U) {
        add_tile_of_64(v, weights, rows);
        return 64U;
    }
    if (left >= 32U) {
        add_tile_of_32(v, weights, rows);
        return 32U;
    }
    add_tile_of_8(v, weights, rows);
    return 8U;
}

void l2mu_accumulate_dense_i8_i16_neon32(const l2mu_dense_i8_t *p, int16_t *v,
                                         const uint16_t *spikes)
{
    const size_t stride = ((size_t)p->targets + 7U) / 8U * 8U;
    const rows_t rows = {&spikes[1], &spikes[1U + spikes[0]], stride};
    size_t done = (rows.spike == rows.end) ? stride : 0U;
    while (done != stride) {
        done += add_widest_tile(&v[done], &p->weights[done], rows, stride - done);
    }
}
