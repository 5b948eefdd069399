#include "semihosting.h"

#include <stdint.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_FLEN = 0x0C,
    SYS_GET_CMDLINE = 0x15,
    SYS_EXIT = 0x18,
    SYS_EXIT_EXTENDED = 0x20
};

#define STOPPED_INTERNAL_ERROR 0x20024u
#define STOPPED_APPLICATION_EXIT 0x20026u

#define FAULT_STATUS 3

void firmware_halt(int status);
void firmware_fault(void);

/* Operation in R0, parameter or the address of a block of parameters in R1, result in R0. */
static intptr_t request(uintptr_t operation, uintptr_t parameter) {
    register uintptr_t r0 __asm("r0") = operation;
    register uintptr_t r1 __asm("r1") = parameter;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (intptr_t)r0;
}

static size_t length(const char *text) {
    size_t count = 0;
    while (text[count] != '\0') {
        count++;
    }
    return count;
}

int semihosting_open(const char *name, int mode) {
    const uintptr_t block[3] = {(uintptr_t)name, (uintptr_t)mode, length(name)};
    return (int)request(SYS_OPEN, (uintptr_t)block);
}

void semihosting_close(int file) {
    const uintptr_t block[1] = {(uintptr_t)file};
    (void)request(SYS_CLOSE, (uintptr_t)block);
}

/* The host answers how many bytes are left over. */
size_t semihosting_read(int file, void *to, size_t size) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)to, size};
    const uintptr_t left = (uintptr_t)request(SYS_READ, (uintptr_t)block);
    return left <= size ? size - left : 0u;
}

size_t semihosting_write(int file, const void *from, size_t size) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)from, size};
    const uintptr_t left = (uintptr_t)request(SYS_WRITE, (uintptr_t)block);
    return left <= size ? size - left : 0u;
}

long semihosting_size(int file) {
    const uintptr_t block[1] = {(uintptr_t)file};
    return (long)request(SYS_FLEN, (uintptr_t)block);
}

void semihosting_print(const char *text) {
    (void)request(SYS_WRITE0, (uintptr_t)text);
}

/* Without division, which a processor may not have. */
void semihosting_print_number(unsigned value) {
    static const unsigned powers[] = {1000000000u, 100000000u, 10000000u, 1000000u, 100000u,
                                      10000u,      1000u,      100u,      10u,      1u};
    char text[sizeof powers / sizeof powers[0] + 1u];
    size_t digits = 0;
    for (size_t i = 0; i < sizeof powers / sizeof powers[0]; i++) {
        char digit = '0';
        for (; value >= powers[i]; value -= powers[i]) {
            digit++;
        }
        if (digits > 0u || digit != '0' || powers[i] == 1u) {
            text[digits++] = digit;
        }
    }
    text[digits] = '\0';
    semihosting_print(text);
}

int semihosting_command_line(char *line, size_t size) {
    uintptr_t block[2] = {(uintptr_t)line, size};
    return request(SYS_GET_CMDLINE, (uintptr_t)block) == 0;
}

void semihosting_exit(int status) {
    const uintptr_t block[2] = {STOPPED_APPLICATION_EXIT, (uintptr_t)status};
    (void)request(SYS_EXIT_EXTENDED, (uintptr_t)block);
    /* A host that came back knows only whether all went well. */
    (void)request(SYS_EXIT, status == 0 ? STOPPED_APPLICATION_EXIT : STOPPED_INTERNAL_ERROR);
    for (;;) {
        __asm volatile("");
    }
}

/* What the start-up code calls at the end of main, and on a fault. */
void firmware_halt(int status) {
    semihosting_exit(status);
}

void firmware_fault(void) {
    uint32_t exception;
    __asm volatile("mrs %0, ipsr" : "=r"(exception));
    semihosting_print("firmware stopped by exception ");
    semihosting_print_number(exception);
    semihosting_print("\n");
    semihosting_exit(FAULT_STATUS);
}
