/* Restore states from tampered bytes and run them: build it with sanitizers, which end it on any fault.
 * Prints how many were restored and how many refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#include "checksum.h"

static uint32_t seed = 1;

static uint32_t drawn(uint32_t below)
{
    seed = seed * 1664525U + 1013904223U;
    return (seed >> 8) % below;
}

static void run_a_little(net_state_t *state)
{
    float sample[NET_INPUTS];
    for (int step = 0; step < 4; ++step) {
        for (int i = 0; i < NET_INPUTS; ++i) {
            sample[i] = (float)drawn(2001) / 250.0F - 4.0F;
        }
        net_step(state, sample);
    }
    if (net_class_name(net_classify(state)) == NULL) {
        abort();
    }
}

/* Most after the header, where a checksum that fits lets them through. */
static void tamper(uint8_t *bytes)
{
    static const uint8_t ends[][4] = {
        {0xFF, 0xFF, 0xFF, 0x7F}, {0, 0, 0, 0x80}, {0xFF, 0xFF, 0xFF, 0xFF}, {0xFF, 0xFF, 0xFF, 7},
    };
    for (uint32_t changes = 1 + drawn(4); changes > 0; --changes) {
        const uint32_t first = drawn(20) > 0 ? 24 : 0;
        const uint32_t at = first + drawn(NET_SAVE_BYTES - first);
        if (drawn(2) > 0) {
            bytes[at] = (uint8_t)drawn(drawn(2) > 0 ? 8 : 256);
        } else if (at + 4 < NET_SAVE_BYTES) {
            memcpy(bytes + at - at % 4, ends[drawn(4)], 4);
        }
    }
}

int main(int count, char **arguments)
{
    int restored = 0, refused = 0;
    const int rounds = count > 1 ? atoi(arguments[1]) : 1000;
    for (int round = 0; round < rounds; ++round) {
        /* On the heap, so that the sanitizer sees the first byte beyond. */
        net_state_t *state = malloc(sizeof *state), *before = malloc(sizeof *before);
        const size_t size = drawn(50) > 0 ? NET_SAVE_BYTES : drawn(2 * NET_SAVE_BYTES);
        uint8_t *bytes = malloc(size > NET_SAVE_BYTES ? size : NET_SAVE_BYTES);
        net_init(state);
        run_a_little(state);
        net_save(state, bytes);
        if (drawn(20) > 0) {
            tamper(bytes);
        }
        if (drawn(8) > 0) {
            make_checksum_fit(bytes);
        }
        uint8_t *given = malloc(size > 0 ? size : 1);
        memcpy(given, bytes, size < NET_SAVE_BYTES ? size : NET_SAVE_BYTES);
        memcpy(before, state, sizeof *state);
        if (net_restore(state, given, size) == 0) {
            ++restored;
            run_a_little(state);
        } else {
            ++refused;
            if (memcmp(before, state, sizeof *state) != 0) {
                fputs("a refused state was changed\n", stderr);
                return 1;
            }
        }
        free(given);
        free(bytes);
        free(before);
        free(state);
    }
    printf("%d %d\n", restored, refused);
    return 0;
}
