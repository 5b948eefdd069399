/* For Armv6-M: four neurons at a time, of which most neither spike nor saturate. */
#ifndef __thumb__
#error "this file is for Thumb; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly uses them */

#define GROUP 4U

/* Registers: r0 membranes, r1 thresholds, r2 what tests for the lower limit, r3 the decay or where those
 * of the next neurons are; r8 where the next spike goes, r9 the first membrane, r10 the lower limit, r11
 * the bits of a half, r12 the end of r0. */

/* Two membranes in w times their decays, rounded down. */
#define ONE_DECAY(w)                 \
    "    sxth   r6, " w "\n"         \
    "    asrs   " w ", " w ", #16\n" \
    "    muls   r6, r3, r6\n"        \
    "    muls   " w ", r3, " w "\n"  \
    "    lsrs   r6, r6, #16\n"       \
    "    bics   " w ", r7\n"         \
    "    orrs   " w ", r6\n"
#define OWN_DECAY(w)                 \
    "    ldm    r3!, {r7}\n"         \
    "    sxth   r6, " w "\n"         \
    "    muls   r6, r7, r6\n"        \
    "    ldm    r3!, {r7}\n"         \
    "    asrs   " w ", " w ", #16\n" \
    "    muls   " w ", r7, " w "\n"  \
    "    lsrs   r6, r6, #16\n"       \
    "    mov    r7, r11\n"           \
    "    bics   " w ", r7\n"         \
    "    orrs   " w ", r6\n"

/* A neuron of a group, its membrane at `place` in r0: it is listed, saturated, or let be. No threshold
 * is above the upper limit. */
#define SETTLE(number, place, membrane)   \
    "    " membrane "\n"                  \
    "    ldrh   r7, [r1, #" place "]\n"   \
    "    cmp    r6, r7\n"                 \
    "    ble    2f\n"                     \
    "    mov    r7, r10\n"                \
    "    mvns   r7, r7\n"                 \
    "    cmp    r6, r7\n"                 \
    "    ble    1f\n"                     \
    "    strh   r7, [r0, #" place "]\n"   \
    "    ldrh   r6, [r1, #" place "]\n"   \
    "    cmp    r7, r6\n"                 \
    "    ble    3f\n"                     \
    "1:  mov    r7, r9\n"                 \
    "    subs   r7, r0, r7\n"             \
    "    lsrs   r7, r7, #1\n"             \
    "    adds   r7, #" number "\n"        \
    "    mov    r6, r8\n"                 \
    "    strh   r7, [r6]\n"               \
    "    adds   r6, #2\n"                 \
    "    mov    r8, r6\n"                 \
    "    b      3f\n"                     \
    "2:  cmp    r6, r10\n"                \
    "    bge    3f\n"                     \
    "    mov    r7, r10\n"                \
    "    strh   r7, [r0, #" place "]\n"   \
    "3:\n"

/* The group at r0, which r4 and r5 hold before and after; r1 is beyond its thresholds. */
__attribute__((naked, used)) static void l2mu_settle_group(void)
{
    __asm__ volatile("    .syntax unified\n"
                     "    subs   r1, #8\n"
                     SETTLE("0", "0", "sxth   r6, r4")
                     SETTLE("1", "2", "asrs   r6, r4, #16")
                     SETTLE("2", "4", "sxth   r6, r5")
                     SETTLE("3", "6", "asrs   r6, r5, #16")
                     "    adds   r1, #8\n"
                     "    ldr    r4, [r0]\n"
                     "    ldr    r5, [r0, #4]\n"
                     "    bx     lr\n");
}

/* The sign of a half shows, for one membrane each, threshold - membrane < 0, which every one beyond the
 * upper limit has, and membrane - lower limit < 0. A borrow from the lower half brings forward the first,
 * never delays it; a carry delays the second by one, so the upper half is tested for one more. */
#define LOOP(decay)                      \
    "    .syntax unified\n"              \
    "    push   {r4, r5, r6, r7, lr}\n"  \
    "    mov    r4, r8\n"                \
    "    mov    r5, r9\n"                \
    "    mov    r6, r10\n"               \
    "    mov    r7, r11\n"               \
    "    push   {r4, r5, r6, r7}\n"      \
    "    ldr    r4, [sp, #36]\n"         \
    "    mov    r8, r4\n"                \
    "    mov    r9, r0\n"                \
    "    mov    r12, r2\n"               \
    "    adr    r7, 4f\n"                \
    "    ldm    r7!, {r2, r4, r5}\n"     \
    "    mov    r10, r4\n"               \
    "    mov    r11, r5\n"               \
    "1:  ldr    r4, [r0]\n"              \
    "    ldr    r5, [r0, #4]\n"          \
    "    ldm    r1!, {r6, r7}\n"         \
    "    subs   r6, r6, r4\n"            \
    "    subs   r7, r7, r5\n"            \
    "    orrs   r6, r7\n"                \
    "    adds   r7, r4, r2\n"            \
    "    orrs   r6, r7\n"                \
    "    adds   r7, r5, r2\n"            \
    "    orrs   r6, r7\n"                \
    "    lsls   r7, r6, #16\n"           \
    "    orrs   r7, r6\n"                \
    "    bmi    3f\n"                    \
    "2:  mov    r7, r11\n"               \
    decay("r4") decay("r5")              \
    "    stm    r0!, {r4, r5}\n"         \
    "    cmp    r0, r12\n"               \
    "    bne    1b\n"                    \
    "    mov    r0, r8\n"                \
    "    pop    {r4, r5, r6, r7}\n"      \
    "    mov    r8, r4\n"                \
    "    mov    r9, r5\n"                \
    "    mov    r10, r6\n"               \
    "    mov    r11, r7\n"               \
    "    pop    {r4, r5, r6, r7, pc}\n"  \
    "3:  bl     l2mu_settle_group\n"     \
    "    b      2b\n"                    \
    "    .p2align 2\n"                   \
    "4:  .word  0x1FFF2000, -8192, 0xFFFF\n"

#if L2MU_NARROW_BITS != 14
#error "the limits in this file are those of 14 bits"
#endif

/* List the neurons that spike, and saturate and decay all; where the next spike would go. */
__attribute__((naked)) static uint16_t *decay_one(int16_t *v, const int16_t *threshold,
                                                  const int16_t *end, int32_t beta, uint16_t *next)
{
    __asm__ volatile(LOOP(ONE_DECAY));
}

__attribute__((naked)) static uint16_t *decay_own(int16_t *v, const int16_t *threshold,
                                                  const int16_t *end, const int32_t *beta,
                                                  uint16_t *next)
{
    __asm__ volatile(LOOP(OWN_DECAY));
}

static const uint16_t *decay(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    const int16_t *const end = &v[(p->size + (GROUP - 1U)) & ~(size_t)(GROUP - 1U)];
    const uint16_t *const next =
        (p->beta_step == 0U) ? decay_one(v, p->threshold, end, *p->beta, &spikes[1])
                             : decay_own(v, p->threshold, end, p->beta, &spikes[1]);
    spikes[0] = (uint16_t)(next - spikes - 1);
    return next;
}

static void add_bias(const l2mu_neurons_i16_t *p, int16_t *v)
{
    const int16_t *const bias = p->bias;
    if (bias != NULL) {
        const size_t size = p->size;
        for (size_t j = 0; j < size; ++j) {
            v[j] = (int16_t)(v[j] + bias[j]);
        }
    }
}

void l2mu_fire_subtract_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    const uint16_t *const end = decay(p, v, spikes);
    const int16_t *const threshold = p->threshold;
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        v[*spike] = (int16_t)(v[*spike] - threshold[*spike]);
    }
    add_bias(p, v);
}

void l2mu_fire_zero_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    const uint16_t *const end = decay(p, v, spikes);
    for (const uint16_t *spike = &spikes[1]; spike != end; ++spike) {
        v[*spike] = 0;
    }
    add_bias(p, v);
}

void l2mu_fire_none_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes)
{
    (void)decay(p, v, spikes);
    add_bias(p, v);
}
