/* memcpy and memset where no C library supplies them: firmware, and shared libraries that must
 * load beside any C library. Hidden, so that a shared library never offers them to others.
 */
#include <stddef.h>
#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden")))

/* A word that may alias anything and lie anywhere. */
typedef uint32_t __attribute__((may_alias, aligned(4))) word_t;

HIDDEN void *memcpy(void *restrict to, const void *restrict from, size_t size);
HIDDEN void *memset(void *to, int value, size_t size);

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    unsigned char *out = to;
    const unsigned char *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3u) == 0u) {
        for (; size >= 4u; size -= 4u) {
            *(word_t *)(void *)out = *(const word_t *)(const void *)in;
            out += 4;
            in += 4;
        }
    }
    for (; size > 0u; size--) {
        *out++ = *in++;
    }
    return to;
}

void *memset(void *to, int value, size_t size) {
    unsigned char *out = to;
    const unsigned char byte = (unsigned char)value;
    if (((uintptr_t)out & 3u) == 0u) {
        const uint32_t word = 0x01010101u * byte;
        for (; size >= 4u; size -= 4u) {
            *(word_t *)(void *)out = word;
            out += 4;
        }
    }
    for (; size > 0u; size--) {
        *out++ = byte;
    }
    return to;
}
