/* For 32-bit Arm processors with an FPU: eight neurons at a time. Scalar instructions, as vectors of
 * Armv7 and Helium take subnormal numbers for zero. */
#if !defined(__arm__) || !defined(__ARM_FP)
#error "this file is for Arm processors with an FPU; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* Assembly of one loop. Thresholds are greater than zero: numbers are greater than them where their bits
 * are, as integers. Registers: r0 membranes, r1 thresholds, r2 decays, r3 the number of the first neuron,
 * r12 where the next spike goes, lr the end of the membranes; s0 to s7 eight membranes, s8 to s15 their
 * decays; r4 to r7 the bits of four membranes, r8 to r11 of their thresholds. */
#define DECAY(v, beta) "    vmul.f32 s" v ", s" v ", s" beta "\n"

/* All have the decay in s8, or r2 points to one for each. */
#define ONE_DECAY                                                                   \
    DECAY("0", "8") DECAY("1", "8") DECAY("2", "8") DECAY("3", "8") DECAY("4", "8") \
    DECAY("5", "8") DECAY("6", "8") DECAY("7", "8")
#define OWN_DECAY                                                                      \
    "    vldmia r2!, {s8-s15}\n"                                                       \
    DECAY("0", "8") DECAY("1", "9") DECAY("2", "10") DECAY("3", "11") DECAY("4", "12") \
    DECAY("5", "13") DECAY("6", "14") DECAY("7", "15")

/* Go to `spike` for a number above its threshold, and come back. */
#define TEST(bits, threshold, spike, back) \
    "    cmp    " bits ", " threshold "\n" \
    "    bgt    " spike "f\n"              \
    back ":\n"
#define TEST_4(t0, t1, t2, t3, n)                                             \
    TEST("r4", t0, "1" n "0", "2" n "0") TEST("r5", t1, "1" n "1", "2" n "1") \
    TEST("r6", t2, "1" n "2", "2" n "2") TEST("r7", t3, "1" n "3", "2" n "3")

/* List a neuron, unless its membrane is not a number, and reset it. */
#define SPIKE(bits, threshold, v, number, label, back, reset) \
    label ":\n"                                               \
    "    lsl    " bits ", " bits ", #1\n"                     \
    "    cmp    " bits ", #0xFF000000\n"                      \
    "    bhi    " back "b\n"                                  \
    "    add    " bits ", r3, #" number "\n"                  \
    "    strh   " bits ", [r12], #2\n"                        \
    reset(v, bits, threshold)                                 \
    "    b      " back "b\n"
#define SPIKES(t0, t1, t2, t3, reset)                                                             \
    SPIKE("r4", t0, "0", "0", "100", "200", reset) SPIKE("r5", t1, "1", "1", "101", "201", reset) \
    SPIKE("r6", t2, "2", "2", "102", "202", reset) SPIKE("r7", t3, "3", "3", "103", "203", reset) \
    SPIKE("r4", t0, "4", "4", "110", "210", reset) SPIKE("r5", t1, "5", "5", "111", "211", reset) \
    SPIKE("r6", t2, "6", "6", "112", "212", reset) SPIKE("r7", t3, "7", "7", "113", "213", reset)

/* What a spike does to its membrane. */
#define SUBTRACT(v, free, threshold) \
    "    vmov   s15, " threshold "\n    vsub.f32 s" v ", s" v ", s15\n"
#define ZERO(v, free, threshold) "    mov    " free ", #0\n    vmov   s" v ", " free "\n"
#define NONE(v, free, threshold)

/* All have the threshold in r8, or r1 points to one for each. */
#define ONE_TEST(n) TEST_4("r8", "r8", "r8", "r8", n)
#define OWN_TEST(n) "    ldmia  r1!, {r8, r9, r10, r11}\n" TEST_4("r8", "r9", "r10", "r11", n)
#define ONE_SPIKES(reset) SPIKES("r8", "r8", "r8", "r8", reset)
#define OWN_SPIKES(reset) SPIKES("r8", "r9", "r10", "r11", reset)

/* A function (membranes, thresholds, decays, end of the membranes, where spikes go): where the next spike
 * would go. */
#define LOOP(name, decay, threshold, reset)                                                       \
    __attribute__((naked)) static uint16_t *name(float *v, const float *thresholds,               \
                                                 const float *beta, const float *end,             \
                                                 uint16_t *next)                                  \
    {                                                                                             \
        __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"                    \
                         "    ldr    r12, [sp, #36]\n"                                            \
                         "    ldr    r8, [r1]\n"                                                  \
                         "    vldr   s8, [r2]\n"                                                  \
                         "    mov    lr, r3\n"                                                    \
                         "    mov    r3, #0\n"                                                    \
                         "1:  vldmia r0, {s0-s7}\n"                                               \
                         "    ldmia  r0!, {r4, r5, r6, r7}\n" decay##_DECAY threshold##_TEST("0") \
                         "    ldmia  r0, {r4, r5, r6, r7}\n" threshold##_TEST("1")                \
                         "    sub    r0, r0, #16\n"                                               \
                         "    add    r3, r3, #8\n"                                                \
                         "    vstmia r0!, {s0-s7}\n"                                              \
                         "    cmp    r0, lr\n"                                                    \
                         "    bne    1b\n"                                                        \
                         "    mov    r0, r12\n"                                                   \
                         "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"                    \
                         threshold##_SPIKES(reset));                                              \
    }

/* Functions (parameters, membranes, end of the membranes, where spikes go): where the next spike would
 * go. */
#define LOOPS(name, reset)                                                                          \
    LOOP(name##_one_one, ONE, ONE, reset)                                                           \
    LOOP(name##_one_own, ONE, OWN, reset)                                                           \
    LOOP(name##_own_one, OWN, ONE, reset)                                                           \
    LOOP(name##_own_own, OWN, OWN, reset)                                                           \
    static inline uint16_t *name(const l2mu_neurons_f32_t *p, float *v, const float *end,           \
                                 uint16_t *next)                                                    \
    {                                                                                               \
        if (p->beta_step == 0U) {                                                                   \
            return (p->threshold_step == 0U) ? name##_one_one(v, p->threshold, p->beta, end, next)  \
                                             : name##_one_own(v, p->threshold, p->beta, end, next); \
        }                                                                                           \
        return (p->threshold_step == 0U) ? name##_own_one(v, p->threshold, p->beta, end, next)      \
                                         : name##_own_own(v, p->threshold, p->beta, end, next);     \
    }

LOOPS(subtract, SUBTRACT)
LOOPS(zero, ZERO)
LOOPS(none, NONE)

/* Eight at a time, at least once. */
static inline void add_eights(float *v, const float *bias, size_t count)
{
    const float *const end = &v[count];
    float *next = v;
    __asm__ volatile("1:  vldmia %[v], {s0-s7}\n"
                     "    vldmia %[bias]!, {s8-s15}\n"
                     "    vadd.f32 s0, s0, s8\n"
                     "    vadd.f32 s1, s1, s9\n"
                     "    vadd.f32 s2, s2, s10\n"
                     "    vadd.f32 s3, s3, s11\n"
                     "    vadd.f32 s4, s4, s12\n"
                     "    vadd.f32 s5, s5, s13\n"
                     "    vadd.f32 s6, s6, s14\n"
                     "    vadd.f32 s7, s7, s15\n"
                     "    vstmia %[v]!, {s0-s7}\n"
                     "    cmp    %[v], %[end]\n"
                     "    bne    1b\n"
                     : [v] "+&r"(next), [bias] "+&r"(bias)
                     : [end] "r"(end)
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
                       "s10", "s11", "s12", "s13", "s14", "s15");
}

static inline void add_bias(const float *bias, float *v, size_t size)
{
    const size_t whole = size & ~(size_t)7U;
    if (whole != 0U) {
        add_eights(v, bias, whole);
    }
    for (size_t j = whole; j < size; ++j) {
        v[j] += bias[j];
    }
}

typedef enum { BY_SUBTRACTION, TO_ZERO, NEVER } reset_t;

/* The neurons from number `first` on, fewer than eight. */
static inline __attribute__((always_inline)) uint16_t *
fire_rest(const l2mu_neurons_f32_t *p, float *v, size_t first, uint16_t *next, reset_t reset)
{
    for (size_t j = first; j < p->size; ++j) {
        const float threshold = p->threshold[j * p->threshold_step];
        float decayed = p->beta[j * p->beta_step] * v[j];
        if (v[j] > threshold) {
            if (reset == BY_SUBTRACTION) {
                decayed -= threshold;
            } else if (reset == TO_ZERO) {
                decayed = 0.0F;
            }
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = decayed;
    }
    return next;
}

#define FIRE(loop, reset)                       \
    const size_t whole = p->size & ~(size_t)7U; \
    uint16_t *next = &spikes[1];                \
    if (whole != 0U) {                          \
        next = loop(p, v, &v[whole], next);     \
    }                                           \
    next = fire_rest(p, v, whole, next, reset); \
    spikes[0] = (uint16_t)(next - spikes - 1);  \
    if (p->bias != NULL) {                      \
        add_bias(p->bias, v, p->size);          \
    }

void l2mu_fire_subtract_f32_fpu(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    FIRE(subtract, BY_SUBTRACTION)
}

void l2mu_fire_zero_f32_fpu(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    FIRE(zero, TO_ZERO)
}

void l2mu_fire_none_f32_fpu(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes)
{
    FIRE(none, NEVER)
}
