/* Start-up code for a RISC-V microcontroller: stack pointer, memory initialization, main.
 *
 * main's result ends as the argument of firmware_halt, a trap in firmware_fault.
 */
#include <stdint.h>

/* Set by the linker script. */
extern uint32_t firmware_data_load[];
extern uint32_t firmware_data_start[];
extern uint32_t firmware_data_end[];
extern uint32_t firmware_bss_start[];
extern uint32_t firmware_bss_end[];

int main(void);
void start(void);
void Reset_Handler(void);
void firmware_halt(int status);
void firmware_fault(void);

__attribute__((noinline, used, weak)) void firmware_halt(int status) {
    for (;;) {
        __asm volatile("" : : "r"(status));
    }
}

__attribute__((noinline, used, weak, aligned(4))) void firmware_fault(void) {
    for (;;) {
        __asm volatile("");
    }
}

__attribute__((noinline, used)) void start(void) {
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

/* The first instructions; no C may run before there is a stack. */
__attribute__((naked, used, section(".reset"))) void Reset_Handler(void) {
    __asm volatile("la sp, firmware_stack_top\n\t"
                   "la t0, firmware_fault\n\t"
                   "csrw mtvec, t0\n\t"
                   "j start");
}
