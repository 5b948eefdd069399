/* For Armv6-M, which multiplies no more than 32 bits: membranes in halves, two neurons at a time. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

/* Registers: r0 the next membrane, r1 its threshold, r2 where the next spike goes, r3 the decay; r1 and r3
 * are that of all neurons, or where those of the next ones are; r7 the first membrane, r8 and r9 the
 * limits, r12 the end of r0. */

#define ONE_THRESHOLD "    cmp    r4, r1\n"
#define OWN_THRESHOLD         \
    "    ldm    r1!, {r5}\n" \
    "    cmp    r4, r5\n"

/* r4 times r5, of which the upper half is r4 and has a sign; rounded down after 15 bits. */
#define PRODUCT(decay)               \
    "    uxth   r5, r4\n"           \
    "    asrs   r4, r4, #16\n"      \
    "    muls   r5, " decay ", r5\n" \
    "    muls   r4, " decay ", r4\n" \
    "    lsrs   r5, r5, #15\n"      \
    "    lsls   r4, r4, #1\n"       \
    "    adds   r4, r4, r5\n"
#define ONE_DECAY PRODUCT("r3")
#define OWN_DECAY "    ldm    r3!, {r6}\n" PRODUCT("r6")

/* A neuron is saturated, listed, and decays. */
#define NEURON(threshold, decay)  \
    "    ldr    r4, [r0]\n"      \
    "    cmp    r4, r8\n"        \
    "    ble    3f\n"            \
    "    mov    r4, r8\n"        \
    "3:  cmp    r4, r9\n"        \
    "    bge    3f\n"            \
    "    mov    r4, r9\n"        \
    "3:\n" threshold             \
    "    ble    3f\n"            \
    "    subs   r5, r0, r7\n"    \
    "    lsrs   r5, r5, #2\n"    \
    "    strh   r5, [r2]\n"      \
    "    adds   r2, #2\n"        \
    "3:\n" decay                 \
    "    stm    r0!, {r4}\n"

/* The first time round only one neuron if their number is odd. */
#define LOOP(threshold, decay)            \
    __asm__ volatile(                     \
        "    .syntax unified\n"          \
        "    push   {r4, r5, r6, r7, lr}\n" \
        "    mov    r4, r8\n"            \
        "    mov    r5, r9\n"            \
        "    push   {r4, r5}\n"          \
        "    ldr    r4, [sp, #28]\n"     \
        "    ldr    r5, [sp, #32]\n"     \
        "    ldr    r6, [sp, #36]\n"     \
        "    mov    r12, r4\n"           \
        "    mov    r8, r6\n"            \
        "    mov    r9, r5\n"            \
        "    mov    r7, r0\n"            \
        "    subs   r4, r4, r0\n"        \
        "    lsrs   r4, r4, #3\n"        \
        "    bcs    2f\n"                \
        "1:\n" NEURON(threshold, decay)  \
        "2:\n" NEURON(threshold, decay)  \
        "    cmp    r0, r12\n"           \
        "    bne    1b\n"                \
        "    mov    r0, r2\n"            \
        "    pop    {r4, r5}\n"          \
        "    mov    r8, r4\n"            \
        "    mov    r9, r5\n"            \
        "    pop    {r4, r5, r6, r7, pc}\n")

/* List the neurons that spike, and saturate and decay all: where the next spike would go. */
__attribute__((naked)) static uint16_t *one_one(int32_t *v, int32_t threshold, uint16_t *next,
                                                int32_t beta, int32_t *end, int32_t low, int32_t high)
{
    LOOP(ONE_THRESHOLD, ONE_DECAY);
}

__attribute__((naked)) static uint16_t *one_own(int32_t *v, int32_t threshold, uint16_t *next,
                                                const int32_t *beta, int32_t *end, int32_t low,
                                                int32_t high)
{
    LOOP(ONE_THRESHOLD, OWN_DECAY);
}

__attribute__((naked)) static uint16_t *own_one(int32_t *v, const int32_t *threshold, uint16_t *next,
                                                int32_t beta, int32_t *end, int32_t low, int32_t high)
{
    LOOP(OWN_THRESHOLD, ONE_DECAY);
}

__attribute__((naked)) static uint16_t *own_own(int32_t *v, const int32_t *threshold, uint16_t *next,
                                                const int32_t *beta, int32_t *end, int32_t low,
                                                int32_t high)
{
    LOOP(OWN_THRESHOLD, OWN_DECAY);
}

static const uint16_t *decay(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const int32_t *const threshold = p->threshold;
    const int32_t *const beta = p->beta;
    int32_t *const end = &v[p->size];
    const uint16_t *next;
    if (p->threshold_step == 0U) {
        next = (p->beta_step == 0U)
                   ? one_one(v, *threshold, &spikes[1], *beta, end, p->low, p->high)
                   : one_own(v, *threshold, &spikes[1], beta, end, p->low, p->high);
    } else {
        next = (p->beta_step == 0U) ? own_one(v, threshold, &spikes[1], *beta, end, p->low, p->high)
                                    : own_own(v, threshold, &spikes[1], beta, end, p->low, p->high);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
    return next;
}

void l2mu_fire_subtract_i32_m0(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const uint16_t *const end = decay(p, v, spikes);
    const size_t step = p->threshold_step;
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        v[*spike] -= p->threshold[*spike * step];
    }
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_zero_i32_m0(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    const uint16_t *const end = decay(p, v, spikes);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        v[*spike] = 0;
    }
    l2mu_add_bias_i32(p, v);
}

void l2mu_fire_none_i32_m0(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes)
{
    (void)decay(p, v, spikes);
    l2mu_add_bias_i32(p, v);
}
