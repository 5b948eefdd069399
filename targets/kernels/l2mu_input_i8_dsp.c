/* For processors with the DSP extension (Armv7E-M, Armv8-M): two products in an instruction. */
#ifndef __ARM_FEATURE_DSP
#error "this file is for processors with the DSP extension; compile the network for this processor, see --target"
#endif

#include <arm_acle.h>
#include <string.h>

#include "l2mu_arith.h"
#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define TILE 4U /* targets whose sums over many channels are in registers together */

/* The 32 high bits of a product, rounded half up: weights times 2^(23 - shift) and samples times 2^9 make
 * that the current of one channel. */
#define SAMPLE_SCALE 512

static inline int32_t rounded_product(int32_t a, int32_t b)
{
    int32_t product;
    __asm__("smmulr %0, %1, %2" : "=r"(product) : "r"(a), "r"(b));
    return product;
}

#define PRODUCTS(a, b, c, d)           \
    "    smmulr " a ", " a ", r2\n"    \
    "    smmulr " b ", " b ", r2\n"    \
    "    smmulr " c ", " c ", r2\n"    \
    "    smmulr " d ", " d ", r2\n"    \
    "    pkhbt  " a ", " a ", " b ", lsl #16\n" \
    "    pkhbt  " b ", " c ", " d ", lsl #16\n"

/* Eight targets at a time, to the end of v, which is aligned to four bytes. */
__attribute__((naked)) static void add_eights(int16_t *v, const int32_t *scaled, int32_t sample,
                                              const int16_t *end)
{
    __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n"
                     "1:  ldm    r1!, {r4, r5, r6, r7}\n"
                     PRODUCTS("r4", "r5", "r6", "r7")
                     "    ldm    r1!, {r6, r7, r8, r9}\n"
                     PRODUCTS("r6", "r7", "r8", "r9")
                     "    ldm    r0, {r8, r9, r10, r11}\n"
                     "    sadd16 r4, r4, r8\n"
                     "    sadd16 r5, r5, r9\n"
                     "    sadd16 r6, r6, r10\n"
                     "    sadd16 r7, r7, r11\n"
                     "    stm    r0!, {r4, r5, r6, r7}\n"
                     "    cmp    r0, r3\n"
                     "    bne    1b\n"
                     "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, r12, pc}\n");
}

/* Blocks of one channel each. */
__attribute__((noinline)) static void add_channels(const l2mu_input_i8_t *p, int16_t *v,
                                                   const int16_t *sample)
{
    const int16_t *const end = &v[(size_t)p->blocks * p->rows];
    const int16_t *channel = sample;
    const int8_t *weights = p->weights;
    int16_t *first = v;
    while (first != end) {
        const int32_t *const scaled = (const int32_t *)(const void *)weights;
        const int32_t value = *channel * SAMPLE_SCALE;
        const size_t eights = (((uintptr_t)first % 4U) == 0U) ? (p->rows & ~(size_t)7U) : 0U;
        if (eights != 0U) {
            add_eights(first, scaled, value, &first[eights]);
        }
        for (size_t row = eights; row < p->rows; ++row) {
            first[row] = (int16_t)(first[row] + rounded_product(scaled[row], value));
        }
        weights += p->block_step;
        first += p->rows;
        ++channel;
    }
}

/* Two channels of two targets, whose weights take turns. */
static inline void add_products(int32_t *sums, uint32_t weights, int16x2_t samples)
{
    const uint32_t odd = (weights >> 8U) | (weights << 24U);
    sums[0] = __smlad(__sxtb16((int8x4_t)weights), samples, sums[0]);
    sums[1] = __smlad(__sxtb16((int8x4_t)odd), samples, sums[1]);
}

/* Sums of a tile's targets over all channels. */
static void sum_up(int32_t *sums, const uint32_t *weights, const int16_t *sample, size_t columns)
{
    const uint32_t *four = weights;
    int32_t tile[TILE] = {0, 0, 0, 0};
    size_t column = 0;
    for (; (column + 2U) <= columns; column += 2U) {
        uint32_t samples;
        (void)memcpy(&samples, &sample[column], sizeof samples);
        add_products(&tile[0], four[0], (int16x2_t)samples);
        add_products(&tile[2], four[1], (int16x2_t)samples);
        four += 2;
    }
    if (column < columns) {
        const int16x2_t last = (int16x2_t)(uint16_t)sample[column];
        add_products(&tile[0], four[0], last);
        add_products(&tile[2], four[1], last);
    }
    (void)memcpy(sums, tile, sizeof tile);
}

static void add_block(const l2mu_input_i8_t *p, int16_t *v, const int8_t *weights, const int32_t *shift,
                      const int16_t *sample)
{
    const uint32_t *tile = (const uint32_t *)(const void *)weights;
    for (size_t first = 0; first < p->rows; first += TILE) {
        int32_t sums[TILE];
        sum_up(sums, tile, sample, p->columns);
        tile += (p->columns + 1U) / 2U * 2U;
        for (size_t row = first; (row < p->rows) && (row < (first + TILE)); ++row) {
            const uint32_t right = (uint32_t)shift[row * p->shift_step];
            const int32_t sum = sums[row - first] + l2mu_half(right);
            v[row] = (int16_t)(v[row] + l2mu_floor_shift(sum, right));
        }
    }
}

void l2mu_input_i8_i16_dsp(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample)
{
    if (p->columns == 1U) {
        add_channels(p, v, sample);
        return;
    }
    const int8_t *weights = p->weights;
    const int16_t *channels = sample;
    size_t target = 0;
    for (size_t block = 0; block < p->blocks; ++block) {
        add_block(p, &v[target], weights, &p->shift[target * p->shift_step], channels);
        weights += p->block_step;
        channels += p->columns;
        target += p->rows;
    }
}
