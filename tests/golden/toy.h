/* made by a test
 * of two lines
 *
 * One decision:
 *
 *     static toy_state_t state;
 *     float window[steps][TOY_INPUTS];
 *     int label = toy_run(&state, &window[0][0], steps);
 *
 * or sample by sample: toy_init once, toy_step for every sample, toy_classify when you
 * want the decision so far, toy_reset before the next window. Functions are reentrant; use one
 * state for each stream.
 */
#ifndef TOY_H
#define TOY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TOY_INPUTS 2 /* channels in a sample */
#define TOY_CLASSES 2
#define TOY_STATE_BYTES 44

/* Everything the network remembers. Spike lists hold a count, then neuron indices. */
typedef struct {
    float h_membrane[3];
    float out_membrane[2];
    int32_t score[2];
    uint16_t scratch[7]; /* valid within one step only */
} toy_state_t;

/* Prepare a state for its first window; toy_reset is the same for the next ones. */
void toy_init(toy_state_t *state);
void toy_reset(toy_state_t *state);

/* Advance one time step with one sample, float[TOY_INPUTS]. */
void toy_step(toy_state_t *state, const float *sample);

/* The decision so far: the class with the largest score, the lowest among equals. */
int toy_classify(const toy_state_t *state);

/* What each class has scored so far, int32_t[TOY_CLASSES]: spikes of its output neuron. */
const int32_t *toy_scores(const toy_state_t *state);

/* Reset, take `steps` samples, float[steps][TOY_INPUTS], and classify. */
int toy_run(toy_state_t *state, const float *samples, size_t steps);

#ifdef __cplusplus
}
#endif

#endif
