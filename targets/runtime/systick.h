/* SysTick, which every Cortex-M has at the same place, as a clock: it counts down. */
#ifndef L2MU_SYSTICK_H
#define L2MU_SYSTICK_H

#include <stdint.h>

/* Control, reload value, current value. */
#define SYSTICK ((volatile uint32_t *)0xE000E010u)
#define SYSTICK_RUN 0x5u /* on, at the processor's clock */
#define SYSTICK_RAN_OUT (1u << 16)
#define SYSTICK_LONGEST 0xFFFFFFu

static inline void systick_start(void) {
    SYSTICK[1] = SYSTICK_LONGEST;
    SYSTICK[2] = 0; /* any value: the timer starts again */
    SYSTICK[0] = SYSTICK_RUN;
    while (SYSTICK[2] == 0u) { /* not yet started */
    }
}

static inline uint32_t systick_now(void) {
    return SYSTICK[2];
}

/* Clocks between two readings since the start, 0 if they were too many. */
static inline uint32_t systick_passed(uint32_t before, uint32_t after) {
    return (SYSTICK[0] & SYSTICK_RAN_OUT) != 0u ? 0u : before - after;
}

#endif
