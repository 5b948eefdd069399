/* For processors with the DSP extension (Armv7E-M, Armv8-M): eight weights in a word.
 *
 * Of a word's eight times four bits, those at even places are added up in bytes, as many rows as a byte
 * has room for; so are those at odd places, in the sum of words without their lowest four bits, once
 * the even ones are taken out of it again. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include "l2mu_packed.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define ROWS 16U /* times 15 is in a byte, and so many words without four bits are in a word */
#define TILE 16U
#define EIGHT 8U

/* What the assembly works on; it moves on weights. */
typedef struct {
    int16_t *v;
    const int16_t *v_end;
    const uint8_t *weights;
    size_t tile_bytes; /* from the weights of one tile to those of the next */
    const uint16_t *spike;
    const uint16_t *end; /* at least one and at most ROWS spikes later */
    uint32_t start;      /* twice minus 8 for every spike */
    const int16_t *quantum;
} tiles_t;

/* A word to its sums of bits at even places, and without its lowest four bits. */
#define WORD(word, even, shifted)                              \
    "    add    " shifted ", " shifted ", " word ", lsr #4\n"  \
    "    and    " word ", " word ", #0x0F0F0F0F\n"             \
    "    add    " even ", " even ", " word "\n"

#define ROW                            \
    "    ldrh   r0, [r2], #2\n"        \
    "    add    r0, r12, r0, lsl #3\n" \
    "    ldrd   r0, r1, [r0]\n"        \
    WORD("r0", "r4", "r5") WORD("r1", "r6", "r7")

#define FOUR(first, second, x, y) L2MU_FOUR_TARGETS(first, second, "r8", "r9", x, y, "r11")

/* The sums of a word's rows to eight targets. */
#define FINISH(even, shifted)                                    \
    "    lsr    r0, " even ", #8\n"                              \
    "    sub    " shifted ", " shifted ", r0, lsl #4\n"          \
    "    uxtab16 r0, r10, " even "\n"                            \
    "    uxtab16 r1, r10, " even ", ror #8\n"                    \
    "    uxtab16 r2, r10, " shifted "\n"                         \
    "    uxtab16 r3, r10, " shifted ", ror #8\n"                 \
    FOUR("r0", "r1", even, shifted) FOUR("r2", "r3", even, shifted)

/* Tiles of 16 targets: r8 is where one is, r9 its quanta, r12 its weights, r2 to r3 the spikes. */
__attribute__((naked)) static void add_tiles(tiles_t *p)
{
    __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
                     "    mov    lr, r0\n"
                     "    ldr    r8, [lr]\n"
                     "    ldr    r12, [lr, #8]\n"
                     "    ldrd   r10, r9, [lr, #24]\n"
                     "1:  ldrd   r2, r3, [lr, #16]\n"
                     "    mov    r4, #0\n"
                     "    mov    r5, #0\n"
                     "    mov    r6, #0\n"
                     "    mov    r7, #0\n"
                     "    eor    r0, r2, r3\n"
                     "    lsls   r0, r0, #30\n"
                     "    bmi    3f\n"
                     "2:\n" ROW
                     "3:\n" ROW
                     "    cmp    r2, r3\n"
                     "    bne    2b\n"
                     FINISH("r4", "r5") FINISH("r6", "r7")
                     "    ldrd   r0, r1, [lr, #4]\n"
                     "    ldr    r1, [lr, #12]\n"
                     "    add    r12, r12, r1\n"
                     "    cmp    r8, r0\n"
                     "    bne    1b\n"
                     "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}

void l2mu_accumulate_dense_i4_i16_dsp(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes)
{
    const size_t targets = ((size_t)p->targets + 7U) / EIGHT * EIGHT;
    const size_t tiled = targets / TILE * TILE;
    const size_t tile_bytes = (size_t)p->sources * (TILE / 2U);
    const uint16_t *spike = spikes + 1;
    for (size_t left = spikes[0]; left > 0U;) {
        const size_t rows = (left < ROWS) ? left : ROWS;
        const uint32_t start = (((uint32_t)0U - (8U * (uint32_t)rows)) & 0xFFFFU) * 0x10001U;
        tiles_t tiles = {v, &v[tiled], p->weights, tile_bytes, spike, spike + rows, start, p->quantum};
        if (tiled > 0U) {
            add_tiles(&tiles);
        }
        if (tiled < targets) {
            const uint8_t *const last = &p->weights[(tiled / 2U) * p->sources];
            l2mu_add_packed_eight(&v[tiled], last, spike, rows, &p->quantum[tiled]);
        }
        spike += rows;
        left -= rows;
    }
}
