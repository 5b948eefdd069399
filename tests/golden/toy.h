/* made by a test
 * of two lines
 *
 * One window, one decision:
 *
 *     static toy_state_t state;
 *     float window[steps][TOY_INPUTS];
 *     int label = toy_run(&state, &window[0][0], steps);
 *
 * or sample by sample: toy_init once, toy_step for every sample, toy_classify when you
 * want the decision so far, toy_reset before the next window.
 *
 * A function that ends in _raw takes a sensor's counts, int16_t, and does what its namesake does with
 * the same numbers as float.
 *
 * Functions are reentrant, allocate nothing and share nothing.
 * Use one state for each sensor.
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
#define TOY_SAVE_BYTES 56

/* Everything the network remembers. Membranes (or, of neurons with a synaptic current, these) are kept
 * as the next step starts with them: decayed, reset, and with what the last step's spikes add. */
typedef struct {
    float h_membrane[3];
    float out_membrane[2];
    int32_t score[2];
    uint16_t scratch[7]; /* valid within one step only */
} toy_state_t;

/* Prepare a state for its first window; toy_reset is the same for the next ones. */
void toy_init(toy_state_t *state);
void toy_reset(toy_state_t *state);

/* Advance one time step with one sample, [TOY_INPUTS]. */
void toy_step(toy_state_t *state, const float *sample);
void toy_step_raw(toy_state_t *state, const int16_t *counts);

/* The decision so far: the class with the largest score, the lowest among equals. */
int toy_classify(const toy_state_t *state);

/* What each class has scored so far, int32_t[TOY_CLASSES]: spikes of its output neuron. */
const int32_t *toy_scores(const toy_state_t *state);

/* Reset, take `steps` samples, [steps][TOY_INPUTS], and classify. */
int toy_run(toy_state_t *state, const float *samples, size_t steps);
int toy_run_raw(toy_state_t *state, const int16_t *counts, size_t steps);

/* No toy_push: the length of a window was not known (compile with --window). */

/* The name of a class, UTF-8; NULL if there is no such class. */
const char *toy_class_name(int label);

/* What this code is: the compiler that made it, and the network's SHA-256 as 64 hex digits. */
const char *toy_version(void);
const char *toy_digest(void);

/* Write a state as TOY_SAVE_BYTES bytes, the same on every processor. */
void toy_save(const toy_state_t *state, uint8_t *bytes);

/* Take a state from `size` saved bytes. 0 if that went well; otherwise `state` is as it was, and the
 * bytes are: 1 too many or too few, 2 no saved state, 3 of another network, 4 damaged, 5 of no state
 * that this network can have. */
int toy_restore(toy_state_t *state, const uint8_t *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
