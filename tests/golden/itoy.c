/* made by a test
 * of two lines */
#include "itoy.h"

#include <string.h>

#include "l2mu_kernels.h"
#include "itoy_weights.h"

/* The state is as large as the header says. */
typedef char itoy_state_size_check[sizeof(itoy_state_t) == ITOY_STATE_BYTES ? 1 : -1];

void itoy_reset(itoy_state_t *state)
{
    memset(state, 0, sizeof *state);
}

void itoy_init(itoy_state_t *state)
{
    itoy_reset(state);
}

void itoy_step(itoy_state_t *state, const float *sample)
{
    uint16_t *const out_spikes = &state->scratch[0];
    int16_t *const quantized_sample = (int16_t *)&state->scratch[0];

    /* x */
    l2mu_quantize_sample(quantized_sample, 2, sample, 16.0f);

    /* h */
    l2mu_decay_subtract_i32(&h_neurons, state->h_membrane);
    l2mu_input_i8(&h_from_x_synapses, state->h_membrane, quantized_sample);
    l2mu_accumulate_dense_i8(state->h_membrane, 2, h_from_h_last, state->h_spikes);
    l2mu_fire_i32(&h_neurons, state->h_membrane, state->h_spikes);

    /* out */
    l2mu_decay_subtract_i32(&out_neurons, state->out_membrane);
    l2mu_accumulate_dense_i8(state->out_membrane, 2, out_from_h, state->h_spikes);
    l2mu_fire_i32(&out_neurons, state->out_membrane, out_spikes);

    /* readout */
    l2mu_count_spikes(state->score, out_spikes);
}

int itoy_classify(const itoy_state_t *state)
{
    return l2mu_argmax_i32(state->score, 2);
}

const int32_t *itoy_scores(const itoy_state_t *state)
{
    return state->score;
}

int itoy_run(itoy_state_t *state, const float *samples, size_t steps)
{
    itoy_reset(state);
    for (size_t step = 0; step < steps; ++step) {
        itoy_step(state, samples + step * ITOY_INPUTS);
    }
    return itoy_classify(state);
}
