/* made by a test
 * of two lines
 *
 * One window, one decision:
 *
 *     static itoy_state_t state;
 *     float window[steps][ITOY_INPUTS];
 *     int label = itoy_run(&state, &window[0][0], steps);
 *
 * or sample by sample: itoy_init once, itoy_step for every sample, itoy_classify when you
 * want the decision so far, itoy_reset before the next window.
 *
 * A stream of samples, a decision on the last 10 of them after every 4:
 *
 *     static itoy_stream_t stream;
 *     itoy_stream_init(&stream);
 *     while (read_sensor(sample)) {
 *         if (itoy_push(&stream, sample)) {
 *             puts(itoy_class_name(itoy_decision(&stream)));
 *         }
 *     }
 *
 * A function that ends in _raw takes a sensor's counts, int16_t, and does what its namesake does with
 * the same numbers as float.
 *
 * Functions are reentrant, allocate nothing and share nothing.
 * Use one state or stream for each sensor.
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
#define ITOY_SAVE_BYTES 52

/* Everything the network remembers. Membranes (or, of neurons with a synaptic current, these) are kept
 * as the next step starts with them: decayed, reset, and with what the last step's spikes add. */
typedef struct {
    int32_t h_membrane[2];
    int32_t out_membrane[2];
    int32_t score[2];
    uint16_t scratch[6]; /* valid within one step only */
} itoy_state_t;

/* Prepare a state for its first window; itoy_reset is the same for the next ones. */
void itoy_init(itoy_state_t *state);
void itoy_reset(itoy_state_t *state);

/* Advance one time step with one sample, [ITOY_INPUTS]. */
void itoy_step(itoy_state_t *state, const float *sample);
void itoy_step_raw(itoy_state_t *state, const int16_t *counts);

/* The decision so far: the class with the largest score, the lowest among equals. */
int itoy_classify(const itoy_state_t *state);

/* What each class has scored so far, int32_t[ITOY_CLASSES]: spikes of its output neuron. */
const int32_t *itoy_scores(const itoy_state_t *state);

/* Reset, take `steps` samples, [steps][ITOY_INPUTS], and classify. */
int itoy_run(itoy_state_t *state, const float *samples, size_t steps);
int itoy_run_raw(itoy_state_t *state, const int16_t *counts, size_t steps);

/* Windows of ITOY_WINDOW samples, one starting every ITOY_HOP. Each starts from zero, so ITOY_LANES
 * run side by side: a sample costs at most 3 steps. */
#define ITOY_WINDOW 10
#define ITOY_HOP 4
#define ITOY_LANES 3
#define ITOY_STREAM_BYTES 128

typedef struct {
    itoy_state_t lane[ITOY_LANES];
    int32_t score[ITOY_CLASSES]; /* of the last window that ended */
    uint32_t time;
    int32_t decision;
    int16_t sample[2];
} itoy_stream_t;

/* Prepare a stream for its first sample, or for its first after a gap. */
void itoy_stream_init(itoy_stream_t *stream);
void itoy_stream_reset(itoy_stream_t *stream);

/* Take one sample, [ITOY_INPUTS]; 1 if it was the last of a window, which is now decided, else 0. */
int itoy_push(itoy_stream_t *stream, const float *sample);
int itoy_push_raw(itoy_stream_t *stream, const int16_t *counts);

/* Decision and scores of the last window that ended; -1 and zeros before the first has. */
int itoy_decision(const itoy_stream_t *stream);
const int32_t *itoy_stream_scores(const itoy_stream_t *stream);

/* The name of a class, UTF-8; NULL if there is no such class. */
const char *itoy_class_name(int label);

/* What this code is: the compiler that made it, and the network's SHA-256 as 64 hex digits. */
const char *itoy_version(void);
const char *itoy_digest(void);

/* Write a state as ITOY_SAVE_BYTES bytes, the same on every processor. */
void itoy_save(const itoy_state_t *state, uint8_t *bytes);

/* Take a state from `size` saved bytes. 0 if that went well; otherwise `state` is as it was, and the
 * bytes are: 1 too many or too few, 2 no saved state, 3 of another network, 4 damaged, 5 of no state
 * that this network can have. */
int itoy_restore(itoy_state_t *state, const uint8_t *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
