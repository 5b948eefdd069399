/* For 32-bit Arm processors with an FPU: eight neurons at a time. Scalar instructions, as vectors of
 * Armv7 and Helium take subnormal numbers for zero. */
#if !defined(__arm__) || !defined(__ARM_FP)
#error "this file is for Arm processors with an FPU; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* Assembly of one loop. Thresholds are greater than zero: numbers are greater than them where their bits
 * are, as integers. Registers: r0 membranes, r1 currents, r2 thresholds, r3 the number of the first
 * neuron, r10 synaptic decays, r11 those of membranes, r12 where the next spike goes, lr the end of the
 * membranes; s0 to s7 eight membranes, s8 to s15 their currents, s16 to s23 decays; r4 to r7 the bits of
 * four membranes, r8 and r9 those of their thresholds. */
#define TIMES(v, by) "    vmul.f32 s" v ", s" v ", s" by "\n"
#define PLUS(v, by) "    vadd.f32 s" v ", s" v ", s" by "\n"

/* All have the decays in s16 and s17, or r11 and r10 point to some for each. */
#define ONE_BETA                                                        \
    TIMES("0", "16") TIMES("1", "16") TIMES("2", "16") TIMES("3", "16") \
    TIMES("4", "16") TIMES("5", "16") TIMES("6", "16") TIMES("7", "16")
#define ONE_ALPHA                                                         \
    TIMES("8", "17") TIMES("9", "17") TIMES("10", "17") TIMES("11", "17") \
    TIMES("12", "17") TIMES("13", "17") TIMES("14", "17") TIMES("15", "17")
#define OWN_BETA                                                        \
    "    vldmia r11!, {s16-s23}\n"                                      \
    TIMES("0", "16") TIMES("1", "17") TIMES("2", "18") TIMES("3", "19") \
    TIMES("4", "20") TIMES("5", "21") TIMES("6", "22") TIMES("7", "23")
#define OWN_ALPHA                                                         \
    "    vldmia r10!, {s16-s23}\n"                                        \
    TIMES("8", "16") TIMES("9", "17") TIMES("10", "18") TIMES("11", "19") \
    TIMES("12", "20") TIMES("13", "21") TIMES("14", "22") TIMES("15", "23")
#define ADD                                                       \
    PLUS("0", "8") PLUS("1", "9") PLUS("2", "10") PLUS("3", "11") \
    PLUS("4", "12") PLUS("5", "13") PLUS("6", "14") PLUS("7", "15")

/* Go to a label for a number above its threshold, and come back. `n` is 1 for membranes before the step
 * and 2 for those after it, then 0 for the first four of eight and 1 for the others. */
#define TEST(bits, threshold, n)           \
    "    cmp    " bits ", " threshold "\n" \
    "    bgt    3" n "f\n"                 \
    "4" n ":\n"

/* All have the threshold in r8, or r2 points to one for each. */
#define ONE_TEST(n, at) \
    TEST("r4", "r8", n "0") TEST("r5", "r8", n "1") TEST("r6", "r8", n "2") TEST("r7", "r8", n "3")
#define OWN_TEST(n, at)                                                                         \
    "    ldrd   r8, r9, [r2, #16*" at "]\n" TEST("r4", "r8", n "0") TEST("r5", "r9", n "1")     \
    "    ldrd   r8, r9, [r2, #16*" at "+8]\n" TEST("r6", "r8", n "2") TEST("r7", "r9", n "3")
#define ONE_SECOND "r8"
#define OWN_SECOND "r9"
#define ONE_NEXT
#define OWN_NEXT "    add    r2, r2, #32\n"

/* At the label: come back at once if the membrane is not a number. */
#define SPIKE(bits, n, rest)                \
    "3" n ":\n"                             \
    "    lsl    " bits ", " bits ", #1\n"   \
    "    cmp    " bits ", #0xFF000000\n"    \
    "    bhi    4" n "b\n" rest             \
    "    b      4" n "b\n"

/* What a spike of the step before does to its membrane. */
#define SUBTRACT(v, bits, threshold) \
    "    vmov   s24, " threshold "\n    vsub.f32 s" v ", s" v ", s24\n"
#define ZERO(v, bits, threshold) "    mov    " bits ", #0\n    vmov   s" v ", " bits "\n"
#define RESET(reset, v, bits, threshold, n) SPIKE(bits, n, reset(v, bits, threshold))
#define RESETS(reset, second)                                                                 \
    RESET(reset, "0", "r4", "r8", "100") RESET(reset, "1", "r5", second, "101")               \
    RESET(reset, "2", "r6", "r8", "102") RESET(reset, "3", "r7", second, "103")               \
    RESET(reset, "4", "r4", "r8", "110") RESET(reset, "5", "r5", second, "111")               \
    RESET(reset, "6", "r6", "r8", "112") RESET(reset, "7", "r7", second, "113")

#define LIST(bits, number, n) \
    SPIKE(bits, n, "    add    " bits ", r3, #" number "\n    strh   " bits ", [r12], #2\n")
#define LISTS                                                                 \
    LIST("r4", "0", "200") LIST("r5", "1", "201") LIST("r6", "2", "202")      \
    LIST("r7", "3", "203") LIST("r4", "4", "210") LIST("r5", "5", "211")      \
    LIST("r6", "6", "212") LIST("r7", "7", "213")

/* Reset what spiked, whose bits memory still has. */
#define WHERE_SPIKED(test)                                        \
    "    ldmia  r0!, {r4, r5, r6, r7}\n" test("10", "0")          \
    "    ldmia  r0, {r4, r5, r6, r7}\n" test("11", "1")           \
    "    sub    r0, r0, #16\n"

/* The steps of a membrane, by what a spike does, and what is behind the loop for them. */
#define SUBTRACT_STEP(test) WHERE_SPIKED(test) ADD
#define ZERO_STEP(test) WHERE_SPIKED(test) ADD
#define CLAMP_STEP(test) ADD WHERE_SPIKED(test)
#define NONE_STEP(test) ADD
#define SUBTRACT_BEHIND(second) RESETS(SUBTRACT, second)
#define ZERO_BEHIND(second) RESETS(ZERO, second)
#define CLAMP_BEHIND(second) RESETS(ZERO, second)
#define NONE_BEHIND(second)

/* A function (membranes, currents, parameters, end of the membranes, where spikes go): where the next
 * spike would go. */
#define LOOP(name, decay, threshold, reset)                                                        \
    __attribute__((naked)) static uint16_t *name(float *v, float *syn, const l2mu_neurons_f32_t *p, \
                                                 const float *end, uint16_t *next)                 \
    {                                                                                              \
        __asm__ volatile("    push   {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"                     \
                         "    vpush  {d8-d12}\n"                                                   \
                         "    ldr    r12, [sp, #76]\n"                                             \
                         "    ldr    r10, [r2]\n"                                                  \
                         "    ldr    r11, [r2, #4]\n"                                              \
                         "    ldr    r2, [r2, #8]\n"                                               \
                         "    ldr    r8, [r2]\n"                                                   \
                         "    vldr   s16, [r11]\n"                                                 \
                         "    vldr   s17, [r10]\n"                                                 \
                         "    mov    lr, r3\n"                                                     \
                         "    mov    r3, #0\n"                                                     \
                         "1:  vldmia r0, {s0-s7}\n"                                                \
                         "    vldmia r1, {s8-s15}\n" decay##_BETA reset##_STEP(threshold##_TEST)   \
                         decay##_ALPHA                                                             \
                         "    vstmia r0, {s0-s7}\n"                                                \
                         "    vstmia r1!, {s8-s15}\n"                                              \
                         "    ldmia  r0!, {r4, r5, r6, r7}\n" threshold##_TEST("20", "0")          \
                         "    ldmia  r0!, {r4, r5, r6, r7}\n" threshold##_TEST("21", "1")          \
                         threshold##_NEXT                                                          \
                         "    add    r3, r3, #8\n"                                                 \
                         "    cmp    r0, lr\n"                                                     \
                         "    bne    1b\n"                                                         \
                         "    mov    r0, r12\n"                                                    \
                         "    vpop   {d8-d12}\n"                                                   \
                         "    pop    {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"                     \
                         reset##_BEHIND(threshold##_SECOND) LISTS);                                \
    }

/* Functions (parameters, membranes, currents, end of the membranes, where spikes go): where the next spike
 * would go. Decays are one for all or own ones, of membranes and synapses alike. */
#define LOOPS(name, reset)                                                                         \
    LOOP(name##_one_one, ONE, ONE, reset)                                                          \
    LOOP(name##_one_own, ONE, OWN, reset)                                                          \
    LOOP(name##_own_one, OWN, ONE, reset)                                                          \
    LOOP(name##_own_own, OWN, OWN, reset)                                                          \
    static inline uint16_t *name(const l2mu_neurons_f32_t *p, float *v, float *syn,                \
                                 const float *end, uint16_t *next)                                 \
    {                                                                                              \
        if (p->beta_step == 0U) {                                                                  \
            return (p->threshold_step == 0U) ? name##_one_one(v, syn, p, end, next)                \
                                             : name##_one_own(v, syn, p, end, next);               \
        }                                                                                          \
        return (p->threshold_step == 0U) ? name##_own_one(v, syn, p, end, next)                    \
                                         : name##_own_own(v, syn, p, end, next);                   \
    }

LOOPS(subtract, SUBTRACT)
LOOPS(zero, ZERO)
LOOPS(clamp, CLAMP)
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

typedef enum { BY_SUBTRACTION, TO_ZERO, KEPT_AT_ZERO, NEVER } reset_t;

/* The neurons from number `first` on. */
static inline __attribute__((always_inline)) uint16_t *
fire_rest(const l2mu_neurons_f32_t *p, float *v, float *syn, size_t first, uint16_t *next, reset_t reset)
{
    for (size_t j = first; j < p->size; ++j) {
        const float threshold = p->threshold[j * p->threshold_step];
        const float current = syn[j];
        float after = p->beta[j * p->beta_step] * v[j];
        if (v[j] > threshold) {
            if (reset == BY_SUBTRACTION) {
                after -= threshold;
            } else if (reset == TO_ZERO) {
                after = 0.0F;
            }
        }
        after = ((reset == KEPT_AT_ZERO) && (v[j] > threshold)) ? 0.0F : (after + current);
        if (after > threshold) {
            *next = (uint16_t)j;
            ++next;
        }
        v[j] = after;
        syn[j] = p->alpha[j * p->alpha_step] * current;
    }
    return next;
}

#define FIRE(loop, reset)                                                                   \
    const size_t whole = (p->alpha_step == p->beta_step) ? (p->size & ~(size_t)7U) : 0U;    \
    uint16_t *next = &spikes[1];                                                            \
    if (whole != 0U) {                                                                      \
        next = loop(p, v, syn, &v[whole], next);                                            \
    }                                                                                       \
    next = fire_rest(p, v, syn, whole, next, reset);                                        \
    spikes[0] = (uint16_t)(next - spikes - 1);                                              \
    if (p->bias != NULL) {                                                                  \
        add_bias(p->bias, syn, p->size);                                                    \
    }

void l2mu_fire_synaptic_subtract_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                         uint16_t *spikes)
{
    FIRE(subtract, BY_SUBTRACTION)
}

void l2mu_fire_synaptic_zero_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                     uint16_t *spikes)
{
    FIRE(zero, TO_ZERO)
}

void l2mu_fire_synaptic_clamp_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                      uint16_t *spikes)
{
    FIRE(clamp, KEPT_AT_ZERO)
}

void l2mu_fire_synaptic_none_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                     uint16_t *spikes)
{
    FIRE(none, NEVER)
}
