/* For AArch64 with dot products: weights of four sources times their flags, four targets at once. */
#if !defined(__aarch64__) || !defined(__ARM_FEATURE_DOTPROD)
#error "this file is for AArch64 with dot products; compile the network for this processor, see --target"
#endif

#include <arm_neon.h>

#include "l2mu_kernels.h"

#define LANES ((size_t)4)    /* int32 sums in a register */
#define WIDEST ((size_t)64)  /* targets at once */
#define SOURCES ((size_t)16) /* flags in a register */

void l2mu_flag_spikes_dotprod(uint8_t *flags, uint16_t sources, const uint16_t *spikes)
{
    const uint16_t *const end = &spikes[1U + spikes[0]];
    for (size_t i = 0; i < sources; i += SOURCES) {
        vst1q_u8(&flags[i], vdupq_n_u8(0));
        __asm__ volatile("" : : : "memory"); /* no call of memset */
    }
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        flags[*spike] = 1U;
    }
}

/* Sixteen sources' weights of four targets. */
#define ADD(sum)                                                \
    "    ld1    {v16.16b-v19.16b}, [%[weights]], #64\n"         \
    "    sdot   v" sum ".4s, v16.16b, v23.4b[0]\n"              \
    "    sdot   v" sum ".4s, v17.16b, v23.4b[1]\n"              \
    "    sdot   v" sum ".4s, v18.16b, v23.4b[2]\n"              \
    "    sdot   v" sum ".4s, v19.16b, v23.4b[3]\n"
#define LOAD(low, high, narrow)                                 \
    "    sxtl   v" low ".4s, v" narrow ".4h\n"                  \
    "    sxtl2  v" high ".4s, v" narrow ".8h\n"
#define STORE(low, high, narrow) "    uzp1   v" narrow ".8h, v" low ".8h, v" high ".8h\n"
#define HALF_A(DO) DO("0", "1", "16") DO("2", "3", "17") DO("4", "5", "18") DO("6", "7", "19")
#define HALF_B(DO) DO("24", "25", "16") DO("26", "27", "17") DO("28", "29", "18") DO("30", "31", "19")

/* The sums of 64 targets are v0 to v7 and v24 to v31 while all sources pass by; v8 to v15 belong to the
 * caller. */
static inline void add_widest(int16_t *v, const int8_t *weights, const uint8_t *flags, const uint8_t *end)
{
    int16_t *out = v;
    __asm__ volatile("    ld1    {v16.8h-v19.8h}, [%[v]], #64\n" HALF_A(LOAD)
                     "    ld1    {v16.8h-v19.8h}, [%[v]]\n" HALF_B(LOAD)
                     "1:  ldr    q23, [%[flags]], #16\n"
                     ADD("0") ADD("1") ADD("2") ADD("3") ADD("4") ADD("5") ADD("6") ADD("7")
                     ADD("24") ADD("25") ADD("26") ADD("27") ADD("28") ADD("29") ADD("30") ADD("31")
                     "    cmp    %[flags], %[end]\n"
                     "    b.ne   1b\n" HALF_A(STORE)
                     "    st1    {v16.8h-v19.8h}, [%[out]], #64\n" HALF_B(STORE)
                     "    st1    {v16.8h-v19.8h}, [%[out]]\n"
                     : [v] "+&r"(v), [out] "+&r"(out), [weights] "+&r"(weights), [flags] "+&r"(flags)
                     : [end] "r"(end)
                     : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17",
                       "v18", "v19", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}

/* Four times `count` targets. */
static inline __attribute__((always_inline)) void
add_tile(int16_t *v, const int8_t *weights, const uint8_t *flags, const uint8_t *end, size_t count)
{
    int32x4_t sums[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        sums[i] = vmovl_s16(vld1_s16(&v[i * LANES]));
    }
    const int8_t *next = weights;
    for (const uint8_t *flag = flags; flag != end; flag += SOURCES) {
        const int8x16_t factors = vreinterpretq_s8_u8(vld1q_u8(flag));
#pragma GCC unroll 4
        for (size_t i = 0; i < count; ++i) {
            const int8x16x4_t weight = vld1q_s8_x4(next);
            sums[i] = vdotq_laneq_s32(sums[i], weight.val[0], factors, 0);
            sums[i] = vdotq_laneq_s32(sums[i], weight.val[1], factors, 1);
            sums[i] = vdotq_laneq_s32(sums[i], weight.val[2], factors, 2);
            sums[i] = vdotq_laneq_s32(sums[i], weight.val[3], factors, 3);
            next += LANES * SOURCES;
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        vst1_s16(&v[i * LANES], vmovn_s32(sums[i]));
    }
}

void l2mu_multiply_dense_i8_i16_dotprod(const l2mu_dense_i8_t *p, int16_t *v, const uint8_t *flags)
{
    const size_t targets = (p->targets + LANES - 1U) & ~(LANES - 1U);
    const size_t sources = (p->sources + SOURCES - 1U) & ~(SOURCES - 1U);
    const uint8_t *const end = &flags[sources];
    size_t j = 0;
    for (; (j + WIDEST) <= targets; j += WIDEST) {
        add_widest(&v[j], &p->weights[j * sources], flags, end);
    }
    for (; (j + (4U * LANES)) <= targets; j += 4U * LANES) {
        add_tile(&v[j], &p->weights[j * sources], flags, end, 4U);
    }
    for (; j < targets; j += LANES) {
        add_tile(&v[j], &p->weights[j * sources], flags, end, 1U);
    }
}
