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

/* Targets' sums, in r0, r2, r4 and so on, stay there while all sources, sixteens of them, pass by. */
#define LOAD(sum, target) "    ldrsh  " sum ", [%[v], #2*" target "]\n"
#define STORE(sum, target) "    strh   " sum ", [%[v], #2*" target "]\n"
#define ADD(sum, target)                                 \
    "    vldrb.u8 q1, [%[weight], #16*" target "]\n"     \
    "    vmlava.s8 " sum ", q0, q1\n"
#define REST_OF_SIX(DO) DO("r2", "1") DO("r4", "2") DO("r6", "3") DO("r8", "4") DO("r10", "5")
#define REST_OF_SEVEN(DO) REST_OF_SIX(DO) DO("r12", "6")

#define TILE(name, many, REST)                                                                    \
    static inline void name(int16_t *v, const int8_t *weights, const uint8_t *flags,              \
                            size_t sixteens)                                                      \
    {                                                                                             \
        register int16_t *const sums __asm__("r1") = v;                                           \
        register const int8_t *weight __asm__("r3") = weights;                                    \
        register const uint8_t *flag __asm__("r5") = flags;                                       \
        register const size_t count __asm__("r9") = sixteens;                                     \
        __asm__ volatile(LOAD("r0", "0") REST(LOAD)                                               \
                         "    dls    lr, %[count]\n"                                              \
                         "1:  vldrb.u8 q0, [%[flag]], #16\n" REST(ADD)                            \
                         "    vldrb.u8 q1, [%[weight]], #16*" many "\n"                           \
                         "    vmlava.s8 r0, q0, q1\n"                                             \
                         "    le     lr, 1b\n"                                                    \
                         STORE("r0", "0") REST(STORE)                                             \
                         : [weight] "+r"(weight), [flag] "+r"(flag)                               \
                         : [v] "r"(sums), [count] "r"(count)                                       \
                         : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "q0", "q1", "cc",    \
                           "memory");                                                             \
    }

TILE(add_six, "6", REST_OF_SIX)
TILE(add_seven, "7", REST_OF_SEVEN)

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
