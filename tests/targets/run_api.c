/* Calls the whole API of a model `net` on windows from a file, in memory of exactly the right size:
 * build it with sanitizers, which end it on any fault. Prints the decision on every window.
 *
 *     run_api WINDOWS STEPS     float32 [n, STEPS, inputs], any numbers at all
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static void *new_memory(size_t size)
{
    void *memory = malloc(size);
    require(memory != NULL, "no memory");
    memset(memory, 0xA5, size);
    return memory;
}

static int16_t count(float number)
{
    return (int16_t)(number > 32767.0f ? 32767 : number > -32768.0f ? (int)number : -32768);
}

/* Whole windows, and sample by sample through a state that is saved and restored half-way. */
static int run_window(const float *window, const int16_t *counts, size_t steps)
{
    net_state_t *state = new_memory(sizeof *state), *other = new_memory(sizeof *other);
    uint8_t *bytes = new_memory(NET_SAVE_BYTES);
    const int decision = net_run(state, window, steps);
    net_init(state);
    for (size_t step = 0; step < steps; ++step) {
        net_step(state, window + step * NET_INPUTS);
        if (step == steps / 2) {
            net_save(state, bytes);
            require(net_restore(other, bytes, NET_SAVE_BYTES) == 0, "a saved state is refused");
            require(net_restore(other, bytes, NET_SAVE_BYTES - 1) == 1, "half a state is taken");
        } else if (step > steps / 2) {
            net_step(other, window + step * NET_INPUTS);
        }
    }
    require(net_classify(state) == decision, "single steps decide otherwise");
    require(net_classify(other) == decision, "a restored state decides otherwise");
    require(memcmp(net_scores(state), net_scores(other), sizeof state->score) == 0, "scores differ");
    require(net_class_name(decision) != NULL && net_class_name(NET_CLASSES) == NULL, "no name");
    const int of_counts = net_run_raw(state, counts, steps);
    net_reset(state);
    for (size_t step = 0; step < steps; ++step) {
        net_step_raw(state, counts + step * NET_INPUTS);
    }
    require(net_classify(state) == of_counts, "single counts decide otherwise");
    free(bytes);
    free(other);
    free(state);
    return decision;
}

static void run_stream(const float *samples, const int16_t *counts, size_t steps)
{
#ifdef NET_WINDOW
    net_stream_t *stream = new_memory(sizeof *stream);
    size_t ended = 0;
    net_stream_init(stream);
    require(net_decision(stream) == -1, "a decision before the first window");
    for (size_t step = 0; step < steps; ++step) {
        ended += (size_t)net_push(stream, samples + step * NET_INPUTS);
    }
    require(ended == (steps < NET_WINDOW ? 0 : 1 + (steps - NET_WINDOW) / NET_HOP), "windows");
    net_stream_reset(stream);
    for (size_t step = 0; step < steps; ++step) {
        ended -= (size_t)net_push_raw(stream, counts + step * NET_INPUTS);
    }
    require(ended == 0, "windows of counts");
    require(net_stream_scores(stream) != NULL && net_decision(stream) < NET_CLASSES, "decision");
    free(stream);
#else
    (void)samples;
    (void)counts;
    (void)steps;
#endif
}

int main(int words, char **word)
{
    require(words == 3, "usage: run_api WINDOWS STEPS");
    const size_t steps = (size_t)atol(word[2]), numbers = steps * NET_INPUTS;
    FILE *file = fopen(word[1], "rb");
    float *window = new_memory(numbers * sizeof *window);
    int16_t *counts = new_memory(numbers * sizeof *counts);
    require(file != NULL, "no file");
    require(strlen(net_version()) > 0 && strlen(net_digest()) == 64, "no version");
    while (fread(window, sizeof *window, numbers, file) == numbers) {
        for (size_t i = 0; i < numbers; ++i) {
            counts[i] = count(window[i]);
        }
        printf("%d\n", run_window(window, counts, steps));
        run_stream(window, counts, steps);
    }
    fclose(file);
    free(counts);
    free(window);
    return 0;
}
