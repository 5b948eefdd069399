/* made by a test
 * of two lines
 *
 * One decision:
 *
 *     static itoy_state_t state;
 *     float window[steps][ITOY_INPUTS];
 *     int label = itoy_run(&state, &window[0][0], steps);
 *
 * or sample by sample: itoy_init once, itoy_step for every sample, itoy_classify when you
 * want the decision so far, itoy_reset before the next window. Functions are reentrant; use one
 * state for each stream.
 */
#ifndef ITOY_H
#define ITOY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ITOY_INPUTS 2 /* channels in a sample */
#define ITOY_CLASSES 2
#define ITOY_STATE_BYTES 36

/* Everything the network remembers. Spike lists hold a count, then neuron indices. */
typedef struct {
    int32_t h_membrane[2];
    int32_t out_membrane[2];
    int32_t score[2];
    uint16_t h_spikes[3];
    uint16_t scratch[3]; /* valid within one step only */
} itoy_state_t;

/* Prepare a state for its first window; itoy_reset is the same for the next ones. */
void itoy_init(itoy_state_t *state);
void itoy_reset(itoy_state_t *state);

/* Advance one time step with one sample, float[ITOY_INPUTS]. */
void itoy_step(itoy_state_t *state, const float *sample);

/* The decision so far: the class with the largest score, the lowest among equals. */
int itoy_classify(const itoy_state_t *state);

/* What each class has scored so far, int32_t[ITOY_CLASSES]: spikes of its output neuron. */
const int32_t *itoy_scores(const itoy_state_t *state);

/* Reset, take `steps` samples, float[steps][ITOY_INPUTS], and classify. */
int itoy_run(itoy_state_t *state, const float *samples, size_t steps);

#ifdef __cplusplus
}
#endif

#endif
