/* For Armv6-M, which has neither packed additions nor division: four weights in a register.
 *
 * Weights are stored plus 128, as bytes without sign. A word of them, b0 + 2^8 b1 + 2^16 b2 + 2^24 b3,
 * is added to one sum as it is and to another with the bytes of each half exchanged. Modulo 2^32, with
 * capital letters for the sums of bytes over all rows:
 *   plain     = B0 + 2^8 B1 + 2^16 B2 + 2^24 B3
 *   exchanged = B1 + 2^8 B0 + 2^16 B3 + 2^24 B2
 *   (plain - 2^8 exchanged) (1 + 2^16) = B0 + 2^16 B2
 *   (exchanged - 2^8 plain) (1 + 2^16) = B1 + 2^16 B3
 * That holds for any number of rows, and also when both start with minus 128 for every byte of every
 * row, which makes B0 to B3 the sums of the weights with their signs. Two int16 in a word w are
 * (w ^ 2^15) - 2^15 in this sense; bytes 0, 2, 1 and 3 are those of neighbouring targets. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define TILE 16U
#define QUAD 4U

/* What the assembly works on; it moves on v and weights. */
typedef struct {
    int16_t *v;
    const int16_t *v_end;
    const int8_t *weights;
    size_t tile_bytes;       /* from the weights of one tile to those of the next */
    const uint16_t *spikes;  /* `skipped` before the first */
    const uint16_t *spikes_end;
    uint32_t start;          /* of all sums */
    size_t skipped;          /* fills the rows up to a multiple of eight */
} tiles_t;

#define OFFSET(bytes) "[r0, #" #bytes "]"

/* A row: the address of 16 weights, two words, two words. */
#define ROW(spike)                    \
    "    ldrh   r0, [r3, #" #spike "]\n" \
    "    lsls   r0, r0, #4\n"         \
    "    adds   r0, r0, r4\n"         \
    "    ldm    r0!, {r1, r2}\n"      \
    "    add    r8, r8, r1\n"         \
    "    rev16  r1, r1\n"             \
    "    add    r12, r12, r1\n"       \
    "    add    r9, r9, r2\n"         \
    "    rev16  r2, r2\n"             \
    "    add    lr, lr, r2\n"         \
    "    ldm    r0, {r0, r1}\n"       \
    "    add    r10, r10, r0\n"       \
    "    rev16  r0, r0\n"             \
    "    adds   r5, r5, r0\n"         \
    "    add    r11, r11, r1\n"       \
    "    rev16  r1, r1\n"             \
    "    adds   r6, r6, r1\n"
#define ROW_BYTES "34"

/* Take two sums apart and add them to four targets at r3, which moves on; r7 is 2^15. */
#define FINISH(plain, exchanged)         \
    "    mov    r0, " plain "\n"         \
    "    mov    r1, " exchanged "\n"     \
    "    lsls   r2, r1, #8\n"            \
    "    subs   r2, r0, r2\n"            \
    "    lsls   r0, r0, #8\n"            \
    "    subs   r1, r1, r0\n"            \
    "    lsls   r0, r2, #16\n"           \
    "    adds   r0, r0, r2\n"            \
    "    lsls   r2, r1, #16\n"           \
    "    adds   r1, r1, r2\n"            \
    "    ldr    r2, [r3]\n"              \
    "    eors   r2, r7\n"                \
    "    adds   r0, r0, r2\n"            \
    "    eors   r0, r7\n"                \
    "    ldr    r2, [r3, #4]\n"          \
    "    eors   r2, r7\n"                \
    "    adds   r1, r1, r2\n"            \
    "    eors   r1, r7\n"                \
    "    stm    r3!, {r0, r1}\n"

/* The plain sums of 16 targets are r8 to r11, the exchanged ones r12, lr, r5 and r6, while the rows of
 * all spikes, at least one, pass by: r3 is the next spike, r4 the tile's weights, r7 the end of the
 * spikes. On the stack: the argument, and where the first time round enters. */
__attribute__((naked)) static void add_tiles(tiles_t *p)
{
    __asm__ volatile("    .syntax unified\n"
                     "    push   {r4, r5, r6, r7, lr}\n"
                     "    mov    r4, r8\n"
                     "    mov    r5, r9\n"
                     "    mov    r6, r10\n"
                     "    mov    r7, r11\n"
                     "    push   {r4, r5, r6, r7}\n"
                     "    ldr    r1, " OFFSET(28) "\n"
                     "    movs   r2, #" ROW_BYTES "\n"
                     "    muls   r1, r2, r1\n"
                     "    adr    r2, 2f\n"
                     "    adds   r1, r1, r2\n"
                     "    push   {r0, r1}\n"
                     "1:  ldr    r0, [sp]\n"
                     "    ldr    r1, " OFFSET(24) "\n"
                     "    mov    r8, r1\n"
                     "    mov    r9, r1\n"
                     "    mov    r10, r1\n"
                     "    mov    r11, r1\n"
                     "    mov    r12, r1\n"
                     "    mov    lr, r1\n"
                     "    mov    r5, r1\n"
                     "    mov    r6, r1\n"
                     "    ldr    r3, " OFFSET(16) "\n"
                     "    ldr    r4, " OFFSET(8) "\n"
                     "    ldr    r7, " OFFSET(20) "\n"
                     "    ldr    r1, [sp, #4]\n"
                     "    mov    pc, r1\n"
                     "    .p2align 2\n"
                     "2:\n" ROW(0) ROW(2) ROW(4) ROW(6) ROW(8) ROW(10) ROW(12) ROW(14)
                     "    adds   r3, r3, #16\n"
                     "    cmp    r3, r7\n"
                     "    beq    3f\n"
                     "    b      2b\n"
                     "3:  ldr    r4, [sp]\n"
                     "    ldr    r3, [r4]\n"
                     "    movs   r7, #128\n"
                     "    lsls   r7, r7, #8\n"
                     FINISH("r8", "r12") FINISH("r9", "lr") FINISH("r10", "r5") FINISH("r11", "r6")
                     "    mov    r0, r4\n"
                     "    str    r3, " OFFSET(0) "\n"
                     "    ldr    r1, " OFFSET(8) "\n"
                     "    ldr    r2, " OFFSET(12) "\n"
                     "    adds   r1, r1, r2\n"
                     "    str    r1, " OFFSET(8) "\n"
                     "    ldr    r1, " OFFSET(4) "\n"
                     "    cmp    r3, r1\n"
                     "    beq    4f\n"
                     "    b      1b\n"
                     "4:  add    sp, sp, #8\n"
                     "    pop    {r4, r5, r6, r7}\n"
                     "    mov    r8, r4\n"
                     "    mov    r9, r5\n"
                     "    mov    r10, r6\n"
                     "    mov    r11, r7\n"
                     "    pop    {r4, r5, r6, r7, pc}\n");
}

static inline uint32_t exchanged_bytes(uint32_t word)
{
    return ((word & 0x00FF00FFU) << 8U) | ((word >> 8U) & 0x00FF00FFU);
}

static inline uint32_t add_pair(uint32_t pair, uint32_t sums)
{
    return ((pair ^ 0x8000U) + sums + (sums << 16U)) ^ 0x8000U;
}

static void add_quad(int16_t *v, const int8_t *weights, const uint16_t *spike, const uint16_t *end,
                     uint32_t start)
{
    const uint32_t *const row = (const uint32_t *)(const void *)weights;
    uint32_t *const pairs = (uint32_t *)(void *)v;
    uint32_t plain = start;
    uint32_t exchanged = start;
    for (; spike != end; ++spike) {
        const uint32_t word = row[*spike];
        plain += word;
        exchanged += exchanged_bytes(word);
    }
    pairs[0] = add_pair(pairs[0], plain - (exchanged << 8U));
    pairs[1] = add_pair(pairs[1], exchanged - (plain << 8U));
}

void l2mu_accumulate_dense_i8_i16_m0(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes)
{
    const size_t count = spikes[0];
    const uint16_t *const spike = spikes + 1;
    const uint16_t *const end = spike + count;
    const uint32_t start = (uint32_t)0U - (0x80808080U * (uint32_t)count);
    const size_t skipped = (0U - count) & 7U;
    const size_t tiles = (p->targets + 7U) / TILE;
    const size_t tile_bytes = (size_t)TILE * p->sources;
    int16_t *const target = v;
    tiles_t all = {target,          &v[tiles * TILE], p->weights, tile_bytes,
                   spike - skipped, end,              start,      skipped};
    if (count == 0U) {
        return;
    }
    if (tiles > 0U) {
        add_tiles(&all);
    }
    while (all.v < (v + p->targets)) {
        add_quad(all.v, all.weights, spike, end, start);
        all.v += QUAD;
        all.weights += QUAD * p->sources;
    }
}

static inline void add_row(int16_t *v, const int8_t *weights, size_t rows)
{
    int16_t *target = v;
    const int8_t *weight = weights;
    size_t left = rows;
    for (; left >= QUAD; left -= QUAD) {
        target[0] = (int16_t)(target[0] + weight[0]);
        target[1] = (int16_t)(target[1] + weight[1]);
        target[2] = (int16_t)(target[2] + weight[2]);
        target[3] = (int16_t)(target[3] + weight[3]);
        target += QUAD;
        weight += QUAD;
    }
    for (; left != 0U; --left) {
        *target = (int16_t)(*target + *weight);
        ++target;
        ++weight;
    }
}

/* A division of an index below 2^16, by its divisor's reciprocal: that may be one too small. */
typedef struct {
    uint32_t divisor;
    uint32_t reciprocal;
} divisor_t;

static inline divisor_t divisor_of(uint16_t columns)
{
    const divisor_t divisor = {columns, (columns == 1U) ? 0x10000U : (0x10000U / columns)};
    return divisor;
}

static inline uint32_t quotient(uint32_t index, divisor_t by)
{
    const uint32_t low = (index * by.reciprocal) >> 16U;
    return ((index - (low * by.divisor)) < by.divisor) ? low : (low + 1U);
}

void l2mu_accumulate_shared_i8_i16_m0(int16_t *v, uint16_t rows, uint16_t columns,
                                      const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const divisor_t by = divisor_of(columns);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = quotient(*spike, by);
        const uint32_t column = *spike - (block * columns);
        add_row(&v[block * rows], &weights[column * rows], rows);
    }
}

void l2mu_accumulate_distinct_i8_i16_m0(int16_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    const divisor_t by = divisor_of(columns);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        const uint32_t block = quotient(*spike, by);
        add_row(&v[block * rows], &weights[(uint32_t)*spike * rows], rows);
    }
}
