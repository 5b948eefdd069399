/* Files, output and command line of the machine that debugs or emulates this firmware.
 *
 * Arm Ltd, "Semihosting for AArch32 and AArch64" (ARM-software/abi-aa): operation numbers,
 * parameter blocks, modes and stop codes are those of that document. Without a host that answers,
 * the first request is a fault.
 */
#ifndef L2MU_SEMIHOSTING_H
#define L2MU_SEMIHOSTING_H

#include <stddef.h>

#define SEMIHOSTING_READ 1  /* "rb" */
#define SEMIHOSTING_WRITE 5 /* "wb" */

/* The handle of an opened file, or -1. */
int semihosting_open(const char *name, int mode);
void semihosting_close(int file);

/* How many of `size` bytes were read, or written. */
size_t semihosting_read(int file, void *to, size_t size);
size_t semihosting_write(int file, const void *from, size_t size);

/* The size of a file in bytes, or -1. */
long semihosting_size(int file);

/* Print text on the host's console. */
void semihosting_print(const char *text);
void semihosting_print_number(unsigned value);

/* Put the command line, ended by a zero, in `line`; returns 0 if the host has none that fits. */
int semihosting_command_line(char *line, size_t size);

/* End; the host's exit status is `status` where it can tell, else whether it was zero. */
__attribute__((noreturn)) void semihosting_exit(int status);

#endif
