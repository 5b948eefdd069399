/* Called by the emulator before each instruction it runs; compiled for the host.
 * One counter per `1 << shift` bytes of code from `base`, and the total. */
#include <stdint.h>

typedef struct {
    uint64_t total;
    uint64_t base;
    uint64_t counters;
    uint64_t shift;
    uint64_t *hits;
} instruction_counts_t;

void count_instruction(void *engine, uint64_t address, uint32_t size, void *user);

void count_instruction(void *engine, uint64_t address, uint32_t size, void *user) {
    instruction_counts_t *counts = user;
    const uint64_t index = (address - counts->base) >> counts->shift;
    (void)engine;
    (void)size;
    counts->total++;
    if (index < counts->counters) {
        counts->hits[index]++;
    }
}
