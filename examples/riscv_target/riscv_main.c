/* Classifies the window compiled in and prints its class, for a host that answers semihosting.
 *
 * RISC-V International, "RISC-V Semihosting": a request is an ebreak between two instructions that
 * do nothing, all three of full length; operation in a0, parameter in a1.
 */
#include <stddef.h>
#include <stdint.h>

#include "l2mu_model.h"

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20 };

#define STOPPED_APPLICATION_EXIT 0x20026u

void firmware_halt(int status);

static l2mu_model_state_t state;

static void request(uintptr_t operation, uintptr_t parameter) {
    register uintptr_t a0 __asm("a0") = operation;
    register uintptr_t a1 __asm("a1") = parameter;
    __asm volatile(".option push\n\t"
                   ".option norvc\n\t"
                   "slli x0, x0, 0x1f\n\t"
                   "ebreak\n\t"
                   "srai x0, x0, 7\n\t"
                   ".option pop"
                   : "+r"(a0)
                   : "r"(a1)
                   : "memory");
}

static void print_number(unsigned value) {
    char text[12];
    size_t at = sizeof text;
    text[--at] = '\0';
    text[--at] = '\n';
    do {
        text[--at] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0u);
    request(SYS_WRITE0, (uintptr_t)&text[at]);
}

/* What the start-up code calls at the end of main. */
void firmware_halt(int status) {
    const uintptr_t block[2] = {STOPPED_APPLICATION_EXIT, (uintptr_t)status};
    request(SYS_EXIT_EXTENDED, (uintptr_t)block);
    for (;;) {
        __asm volatile("");
    }
}

int main(void) {
    l2mu_model_init(&state);
    for (size_t step = 0; step < L2MU_MODEL_WINDOW_STEPS; step++) {
        l2mu_model_step(&state, l2mu_model_window[step]);
    }
    print_number((unsigned)l2mu_model_classify(&state));
    return 0;
}
