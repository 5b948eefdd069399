/* Start-up code of firmware images for Arm Cortex-M: vector table, memory initialization, main.
 *
 * The processor takes its stack pointer and its first instruction from the vector table. main's
 * result ends as the argument of firmware_halt, a fault in firmware_fault. Both loop for ever unless
 * the firmware defines its own.
 */
#include <stdint.h>

/* Set by the linker script. */
extern uint32_t firmware_stack_top[];
extern uint32_t firmware_data_load[];
extern uint32_t firmware_data_start[];
extern uint32_t firmware_data_end[];
extern uint32_t firmware_bss_start[];
extern uint32_t firmware_bss_end[];

int main(void);
void Reset_Handler(void);
void firmware_halt(int status);
void firmware_fault(void);

/* A processor reads the members, by their address. */
typedef union {
    /* cppcheck-suppress unusedStructMember */
    uint32_t *stack;
    /* cppcheck-suppress unusedStructMember */
    void (*handler)(void);
} vector_t;

/* The sixteen entries every Cortex-M has; this firmware enables no interrupt. */
__attribute__((section(".vectors"), used)) static const vector_t vectors[16] = {
        {.stack = firmware_stack_top},
        {.handler = Reset_Handler},
        {.handler = firmware_fault}, /* NMI */
        {.handler = firmware_fault}, /* HardFault */
        {.handler = firmware_fault}, /* MemManage */
        {.handler = firmware_fault}, /* BusFault */
        {.handler = firmware_fault}, /* UsageFault */
        {.handler = firmware_fault}, /* SecureFault, or reserved */
        {.handler = firmware_fault}, /* reserved */
        {.handler = firmware_fault}, /* reserved */
        {.handler = firmware_fault}, /* reserved */
        {.handler = firmware_fault}, /* SVCall */
        {.handler = firmware_fault}, /* DebugMonitor */
        {.handler = firmware_fault}, /* reserved */
        {.handler = firmware_fault}, /* PendSV */
        {.handler = firmware_fault}, /* SysTick */
};

/* The empty asm keeps the loop, and keeps the two functions apart where a linker would fold them. */
__attribute__((noinline, used, weak)) void firmware_halt(int status) {
    for (;;) {
        __asm volatile("" : : "r"(status));
    }
}

__attribute__((noinline, used, weak)) void firmware_fault(void) {
    for (;;) {
        __asm volatile("");
    }
}

/* Registers of the system control block, which ARMv6-M has only a part of. */
static void enable_processor(void) {
#if __ARM_ARCH > 6
    volatile uint32_t *const vtor = (volatile uint32_t *)0xE000ED08u;
    /* The processor may have found its first instruction in a copy of the table. */
    *vtor = (uint32_t)vectors;
#endif
#if defined(__ARM_ARCH_8_1M_MAIN__)
    /* Configuration and control register, LOB: branches of low-overhead loops are remembered. */
    volatile uint32_t *const ccr = (volatile uint32_t *)0xE000ED14u;
    *ccr |= 1u << 19;
#endif
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* Coprocessor access control register: full access to CP10 and CP11, floats and vectors. */
    volatile uint32_t *const cpacr = (volatile uint32_t *)0xE000ED88u;
    *cpacr |= 0xFu << 20;
#endif
    __asm volatile("dsb\n\tisb" : : : "memory");
}

/* Apart from Reset_Handler, because a compiler may copy with vectors, once they are enabled. */
__attribute__((noinline, noreturn)) static void start(void) {
    const uint32_t *load = firmware_data_load;
    for (uint32_t *word = firmware_data_start; word != firmware_data_end; word++) {
        *word = *load++;
    }
    for (uint32_t *word = firmware_bss_start; word != firmware_bss_end; word++) {
        *word = 0u;
    }
    firmware_halt(main());
    for (;;) {
    }
}

void Reset_Handler(void) {
    enable_processor();
    start();
}
