/* made by a test
 * of two lines
 *
 * One window, one decision:
 *
 *     static thin_state_t state;
 *     float window[steps][THIN_INPUTS];
 *     int label = thin_run(&state, &window[0][0], steps);
 *
 * or sample by sample: thin_init once, thin_step for every sample, thin_classify when you
 * want the decision so far, thin_reset before the next window.
 *
 * A function that ends in _raw takes a sensor's counts, int16_t, and does what its namesake does with
 * the same numbers as float.
 *
 * Functions are reentrant, allocate nothing and share nothing.
 * Use one state for each sensor.
 */
#ifndef THIN_H
#define THIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define THIN_INPUTS 2 /* channels in a sample */
#define THIN_CLASSES 3
#define THIN_STATE_BYTES 200
#define THIN_SAVE_BYTES 118

/* Everything the network remembers. Membranes (or, of neurons with a synaptic current, these) are kept
 * as the next step starts with them: decayed, reset, and with what the last step's spikes add. */
typedef struct {
    int32_t score[3];
    int16_t h_membrane[16];
    int16_t m_membrane[32];
    int16_t out_membrane[8];
    uint16_t scratch[38]; /* valid within one step only */
} thin_state_t;

/* Prepare a state for its first window; thin_reset is the same for the next ones. */
void thin_init(thin_state_t *state);
void thin_reset(thin_state_t *state);

/* Advance one time step with one sample, [THIN_INPUTS]. */
void thin_step(thin_state_t *state, const float *sample);
void thin_step_raw(thin_state_t *state, const int16_t *counts);

/* The decision so far: the class with the largest score, the lowest among equals. */
int thin_classify(const thin_state_t *state);

/* What each class has scored so far, int32_t[THIN_CLASSES]: spikes of its output neuron. */
const int32_t *thin_scores(const thin_state_t *state);

/* Reset, take `steps` samples, [steps][THIN_INPUTS], and classify. */
int thin_run(thin_state_t *state, const float *samples, size_t steps);
int thin_run_raw(thin_state_t *state, const int16_t *counts, size_t steps);

/* No thin_push: the length of a window was not known (compile with --window). */

/* The name of a class, UTF-8; NULL if there is no such class. */
const char *thin_class_name(int label);

/* What this code is: the compiler that made it, and the network's SHA-256 as 64 hex digits. */
const char *thin_version(void);
const char *thin_digest(void);

/* Write a state as THIN_SAVE_BYTES bytes, the same on every processor. */
void thin_save(const thin_state_t *state, uint8_t *bytes);

/* Take a state from `size` saved bytes. 0 if that went well; otherwise `state` is as it was, and the
 * bytes are: 1 too many or too few, 2 no saved state, 3 of another network, 4 damaged, 5 of no state
 * that this network can have. */
int thin_restore(thin_state_t *state, const uint8_t *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
