/* For processors with Helium (Armv8.1-M, integer MVE): weights of sixteen sources times their flags. */
#ifndef __ARM_FEATURE_MVE
#error "this file is for processors with Helium; compile the network for this processor, see --target"
#endif

#include <arm_mve.h>

#include "l2mu_kernels.h"

#define SOURCES 16U /* flags in a vector */
#define LISTED 8U   /* spikes in a vector */
#define SIX 6U
#define SEVEN 7U

void l2mu_flag_spikes_mve(uint8_t *flags, uint16_t sources, const uint16_t *spikes)
{
    for (size_t i = 0; i < sources; i += SOURCES) {
        vstrbq_u8(&flags[i], vdupq_n_u8(0));
    }
    for (size_t i = 0; i < spikes[0]; i += LISTED) {
        const mve_pred16_t left = vctp16q((uint32_t)(spikes[0] - i));
        vstrbq_scatter_offset_p_u16(flags, vldrhq_z_u16(&spikes[1U + i], left), vdupq_n_u16(1), left);
    }
}

/* Targets' sums stay in registers while all sources, sixteens of them, pass by. */
#define ADD(sum, place)                         \
    "    vldrb.u8 q1, [%[weight], #" place "]\n" \
    "    vmlava.s8 %[" sum "], q0, q1\n"
#define ADD_FIVE ADD("sum1", "16") ADD("sum2", "32") ADD("sum3", "48") ADD("sum4", "64") ADD("sum5", "80")
#define TILE(adds, bytes)                                                              \
    "    dls    lr, %[sixteens]\n"                                                     \
    "1:  vldrb.u8 q0, [%[flag]], #16\n" adds "    vldrb.u8 q1, [%[weight]], #" bytes "\n" \
    "    vmlava.s8 %[sum0], q0, q1\n"                                                  \
    "    le     lr, 1b\n"

static inline void add_six(int16_t *v, const int8_t *weights, const uint8_t *flags, size_t sixteens)
{
    register const int8_t *weight __asm__("r1") = weights;
    register const uint8_t *flag __asm__("r3") = flags;
    register int32_t sum0 __asm__("r0") = v[0];
    register int32_t sum1 __asm__("r2") = v[1];
    register int32_t sum2 __asm__("r4") = v[2];
    register int32_t sum3 __asm__("r6") = v[3];
    register int32_t sum4 __asm__("r8") = v[4];
    register int32_t sum5 __asm__("r10") = v[5];
    __asm__ volatile(TILE(ADD_FIVE, "96")
                     : [weight] "+r"(weight), [flag] "+r"(flag), [sum0] "+r"(sum0), [sum1] "+r"(sum1),
                       [sum2] "+r"(sum2), [sum3] "+r"(sum3), [sum4] "+r"(sum4), [sum5] "+r"(sum5)
                     : [sixteens] "r"(sixteens)
                     : "q0", "q1", "lr", "cc", "memory");
    v[0] = (int16_t)sum0;
    v[1] = (int16_t)sum1;
    v[2] = (int16_t)sum2;
    v[3] = (int16_t)sum3;
    v[4] = (int16_t)sum4;
    v[5] = (int16_t)sum5;
}

static inline void add_seven(int16_t *v, const int8_t *weights, const uint8_t *flags, size_t sixteens)
{
    register const int8_t *weight __asm__("r1") = weights;
    register const uint8_t *flag __asm__("r3") = flags;
    register int32_t sum0 __asm__("r0") = v[0];
    register int32_t sum1 __asm__("r2") = v[1];
    register int32_t sum2 __asm__("r4") = v[2];
    register int32_t sum3 __asm__("r6") = v[3];
    register int32_t sum4 __asm__("r8") = v[4];
    register int32_t sum5 __asm__("r10") = v[5];
    register int32_t sum6 __asm__("r12") = v[6];
    __asm__ volatile(TILE(ADD_FIVE ADD("sum6", "96"), "112")
                     : [weight] "+r"(weight), [flag] "+r"(flag), [sum0] "+r"(sum0), [sum1] "+r"(sum1),
                       [sum2] "+r"(sum2), [sum3] "+r"(sum3), [sum4] "+r"(sum4), [sum5] "+r"(sum5),
                       [sum6] "+r"(sum6)
                     : [sixteens] "r"(sixteens)
                     : "q0", "q1", "lr", "cc", "memory");
    v[0] = (int16_t)sum0;
    v[1] = (int16_t)sum1;
    v[2] = (int16_t)sum2;
    v[3] = (int16_t)sum3;
    v[4] = (int16_t)sum4;
    v[5] = (int16_t)sum5;
    v[6] = (int16_t)sum6;
}

static inline void add_one(int16_t *v, const int8_t *weights, const uint8_t *flags, size_t sources)
{
    int32_t sum = *v;
    for (size_t i = 0; i < sources; i += SOURCES) {
        sum = vmladavaq_s8(sum, vreinterpretq_s8_u8(vldrbq_u8(&flags[i])), vldrbq_s8(&weights[i]));
    }
    *v = (int16_t)sum;
}

/* Sevens and sixes: where there are many targets, all of them; the sixes are last. */
void l2mu_multiply_dense_i8_i16_mve(const l2mu_dense_i8_t *p, int16_t *v, const uint8_t *flags)
{
    const size_t sixteens = (p->sources + SOURCES - 1U) / SOURCES;
    const size_t sources = SOURCES * sixteens;
    const size_t targets = p->targets;
    const size_t most = targets / SIX;
    const size_t missing = (SEVEN - (targets % SEVEN)) % SEVEN;
    size_t sixes = (missing < most) ? missing : most;
    size_t sevens = (targets - (SIX * sixes)) / SEVEN;
    size_t ones = targets - (SIX * sixes) - (SEVEN * sevens);
    const int8_t *weights = p->weights;
    int16_t *target = v;
    for (; sevens > 0U; --sevens) {
        add_seven(target, weights, flags, sixteens);
        target += SEVEN;
        weights += SEVEN * sources;
    }
    for (; sixes > 0U; --sixes) {
        add_six(target, weights, flags, sixteens);
        target += SIX;
        weights += SIX * sources;
    }
    for (; ones > 0U; --ones) {
        add_one(target, weights, flags, sources);
        ++target;
        weights += sources;
    }
}
