/* For Armv6-M: eight weights in a word.
 *
 * Of a word's eight times four bits, those at even places are added up in bytes, as many rows as a byte
 * has room for; so are those at odd places, in the sum of words without their lowest four bits, once
 * the even ones are taken out of it again. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define ROWS 16U /* times 15 is in a byte, and so many words without four bits are in a word */
#define TILE 16U
#define EIGHT 8U
#define EVEN 0x0F0F0F0FU

/* What the assembly works on; it moves on v, weights and quantum. */
typedef struct {
    int16_t *v;
    const int16_t *v_end;
    const uint8_t *weights;
    size_t tile_bytes;      /* from the weights of one tile to those of the next */
    const uint16_t *spikes; /* `skipped` before the first */
    const uint16_t *end;    /* at least one and at most ROWS after the first */
    uint32_t excess;        /* 8 for every spike */
    size_t skipped;         /* fills the rows up to a multiple of eight */
    const int16_t *quantum;
    uint32_t even;
} tiles_t;

#define OFFSET(bytes) "[r0, #" #bytes "]"

/* A row: the address of two words, and each to its two sums. */
#define ROW(spike)                       \
    "    ldrh   r0, [r3, #" #spike "]\n" \
    "    lsls   r0, r0, #3\n"            \
    "    adds   r0, r0, r4\n"            \
    "    ldm    r0, {r0, r1}\n"          \
    "    lsrs   r2, r0, #4\n"            \
    "    ands   r0, r7\n"                \
    "    adds   r5, r5, r0\n"            \
    "    adds   r6, r6, r2\n"            \
    "    lsrs   r2, r1, #4\n"            \
    "    ands   r1, r7\n"                \
    "    add    r12, r12, r1\n"          \
    "    add    lr, lr, r2\n"
#define ROW_BYTES "24"

/* Four sums, the bytes of r2, to four targets. */
#define FOUR(a, b, c, d)         \
    "    uxtb   r0, r2\n"        \
    L2MU_TARGET(a)                    \
    "    lsrs   r2, r2, #8\n"    \
    "    uxtb   r0, r2\n"        \
    L2MU_TARGET(b)                    \
    "    lsrs   r2, r2, #8\n"    \
    "    uxtb   r0, r2\n"        \
    L2MU_TARGET(c)                    \
    "    lsrs   r0, r2, #8\n"    \
    L2MU_TARGET(d)

/* The sums at even places and of shifted words to eight targets at r3, whose quanta are at r4. */
#define FINISH(even, shifted)              \
    "    mov    r2, " even "\n"            \
    FOUR("0", "4", "2", "6")               \
    "    mov    r2, " shifted "\n"         \
    "    mov    r0, " even "\n"            \
    "    lsrs   r0, r0, #8\n"              \
    "    lsls   r0, r0, #4\n"              \
    "    subs   r2, r2, r0\n"              \
    FOUR("8", "12", "10", "14")            \
    "    adds   r3, r3, #16\n"             \
    "    adds   r4, r4, #16\n"

/* The sums of 16 targets are in r5, r6, r12 and lr while the rows of all spikes, at least one, pass by:
 * r3 is the next spike, r4 the tile's weights. On the stack: the argument, and where the first time
 * round enters. */
__attribute__((naked)) static void add_tiles(tiles_t *p)
{
    __asm__ volatile("    .syntax unified\n"
                     "    push   {r4, r5, r6, r7, lr}\n"
                     "    ldr    r1, " OFFSET(28) "\n"
                     "    movs   r2, #" ROW_BYTES "\n"
                     "    muls   r1, r2, r1\n"
                     "    adr    r2, 2f\n"
                     "    adds   r1, r1, r2\n"
                     "    push   {r0, r1}\n"
                     "1:  ldr    r0, [sp]\n"
                     "    ldr    r3, " OFFSET(16) "\n"
                     "    ldr    r4, " OFFSET(8) "\n"
                     "    ldr    r7, " OFFSET(36) "\n"
                     "    movs   r5, #0\n"
                     "    movs   r6, #0\n"
                     "    mov    r12, r5\n"
                     "    mov    lr, r5\n"
                     "    ldr    r1, [sp, #4]\n"
                     "    mov    pc, r1\n"
                     "    .p2align 2\n"
                     "2:\n" ROW(0) ROW(2) ROW(4) ROW(6) ROW(8) ROW(10) ROW(12) ROW(14)
                     "    adds   r3, r3, #16\n"
                     "    ldr    r0, [sp]\n"
                     "    ldr    r1, " OFFSET(20) "\n"
                     "    cmp    r3, r1\n"
                     "    bne    2b\n"
                     "    ldr    r1, " OFFSET(12) "\n"
                     "    adds   r4, r4, r1\n"
                     "    str    r4, " OFFSET(8) "\n"
                     "    ldr    r3, " OFFSET(0) "\n"
                     "    ldr    r4, " OFFSET(32) "\n"
                     "    ldr    r7, " OFFSET(24) "\n"
                     FINISH("r5", "r6") FINISH("r12", "lr")
                     "    ldr    r0, [sp]\n"
                     "    str    r3, " OFFSET(0) "\n"
                     "    str    r4, " OFFSET(32) "\n"
                     "    ldr    r1, " OFFSET(4) "\n"
                     "    cmp    r3, r1\n"
                     "    beq    3f\n"
                     "    b      1b\n"
                     "3:  add    sp, sp, #8\n"
                     "    pop    {r4, r5, r6, r7, pc}\n");
}

void l2mu_accumulate_dense_i4_i16_m0(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const size_t targets = ((size_t)p->targets + 7U) / EIGHT * EIGHT;
    const uint16_t *spike = spikes + 1;
    tiles_t tiles;
    tiles.v_end = &v[targets / TILE * TILE];
    tiles.tile_bytes = (size_t)p->sources * (TILE / 2U);
    tiles.even = EVEN;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < ROWS) ? left : ROWS;
        tiles.v = v;
        tiles.weights = p->weights;
        tiles.quantum = p->quantum;
        tiles.skipped = (0U - rows) & 7U;
        tiles.spikes = spike - tiles.skipped;
        tiles.end = spike + rows;
        tiles.excess = 8U * (uint32_t)rows;
        if (targets >= TILE) {
            add_tiles(&tiles);
        }
        if ((targets % TILE) != 0U) {
            l2mu_add_packed_eight(tiles.v, tiles.weights, spike, rows, tiles.quantum);
        }
        spike += rows;
        left -= rows;
    }
}
