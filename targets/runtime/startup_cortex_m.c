/* Start-up code of firmware images for Arm Cortex-M: vector table, memory initialization, main.
 *
 * The processor takes its stack pointer and its first instruction from the vector table. main's
 * result ends as the argument of firmware_halt, where a debugger or an emulator finds everything
 * in place; a fault ends in firmware_fault. Both loop for ever.
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

typedef union {
    uint32_t *stack;
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
__attribute__((noinline, used)) void firmware_halt(int status) {
    for (;;) {
        __asm volatile("" : : "r"(status));
    }
}

__attribute__((noinline, used)) void firmware_fault(void) {
    for (;;) {
        __asm volatile("");
    }
}

static void enable_fpu(void) {
#if defined(__ARM_FP)
    /* Coprocessor access control register: full access to CP10 and CP11, before any float. */
    volatile uint32_t *const cpacr = (volatile uint32_t *)0xE000ED88u;
    *cpacr |= 0xFu << 20;
    __asm volatile("dsb\n\tisb" : : : "memory");
#endif
}

void Reset_Handler(void) {
    const uint32_t *load = firmware_data_load;
    for (uint32_t *word = firmware_data_start; word < firmware_data_end; word++) {
        *word = *load++;
    }
    for (uint32_t *word = firmware_bss_start; word < firmware_bss_end; word++) {
        *word = 0u;
    }
    enable_fpu();
    firmware_halt(main());
}
