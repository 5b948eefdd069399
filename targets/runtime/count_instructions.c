/* Called by the emulator before each instruction it executes; compiled for the host.
 * One counter per `1 << shift` bytes of code from `base`, and the total.
 *
 * Instructions that a Thumb `it` block's condition passes over are not shown here. So a block is
 * counted whole, at its `it`; nothing branches into a block (Armv7-M Architecture
 * Reference Manual, DDI 0403, the IT instruction). */
#include <stdint.h>

typedef struct {
    uint64_t total;
    uint64_t base;
    uint64_t counters;
    uint64_t shift;
    uint64_t *hits;
    const uint16_t *thumb; /* the code if it is Thumb code, one halfword per counter, or NULL */
    uint64_t block;        /* where the instructions of the last `it` start, and their bytes */
    uint64_t block_bytes;
} instruction_counts_t;

void count_instruction(void *engine, uint64_t address, uint32_t size, void *user);

/* The instructions that `mask`, the last four bits of an `it`, governs: 4 less its trailing zeros. */
static unsigned int governed(unsigned int mask) {
    unsigned int count = 4;
    for (; (mask & 1u) == 0; mask >>= 1) {
        count--;
    }
    return count;
}

static uint64_t halfwords_of(const instruction_counts_t *counts, uint64_t index, unsigned int n) {
    const uint64_t first = index;
    for (; n > 0 && index < counts->counters; n--) {
        index += counts->thumb[index] >= 0xE800u ? 2 : 1;
    }
    return index - first;
}

void count_instruction(void *engine, uint64_t address, uint32_t size, void *user) {
    instruction_counts_t *counts = user;
    const uint64_t index = (address - counts->base) >> counts->shift;
    unsigned int count = 1;
    (void)engine;
    (void)size;
    if (address - counts->block < counts->block_bytes) {
        return;
    }
    if (index < counts->counters) {
        const unsigned int code = counts->thumb != 0 ? counts->thumb[index] : 0;
        if ((code & 0xFF00u) == 0xBF00u && (code & 0xFu) != 0) {
            count += governed(code & 0xFu);
            counts->block = address + 2;
            counts->block_bytes = 2 * halfwords_of(counts, index + 1, count - 1);
        }
        counts->hits[index] += count;
    }
    counts->total += count;
}
