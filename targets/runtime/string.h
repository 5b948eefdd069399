/* The part of <string.h> that emitted code uses, for targets without a C library. It is searched
 * after every other include directory, so a real <string.h> wins. */
#ifndef L2MU_RUNTIME_STRING_H
#define L2MU_RUNTIME_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

#endif
