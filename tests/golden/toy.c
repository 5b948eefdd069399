/* made by a test
 * of two lines */
#include "toy.h"

#include <string.h>

#include "l2mu_kernels.h"
#include "toy_weights.h"

/* The state is as large as the header says. */
typedef char toy_state_size_check[sizeof(toy_state_t) == TOY_STATE_BYTES ? 1 : -1];

void toy_reset(toy_state_t *state)
{
    memset(state, 0, sizeof *state);
}

void toy_init(toy_state_t *state)
{
    toy_reset(state);
}

void toy_step(toy_state_t *state, const float *sample)
{
    uint16_t *const h_spikes = &state->scratch[0];
    uint16_t *const out_spikes = &state->scratch[4];

    /* h */
    l2mu_decay_subtract_f32(&h_neurons, state->h_membrane);
    l2mu_input_f32(&h_from_x_synapses, state->h_membrane, sample);
    l2mu_fire_f32(&h_neurons, state->h_membrane, h_spikes);

    /* out */
    l2mu_decay_subtract_f32(&out_neurons, state->out_membrane);
    l2mu_accumulate_dense_f32(state->out_membrane, 2, out_from_h, h_spikes);
    l2mu_fire_f32(&out_neurons, state->out_membrane, out_spikes);

    /* readout */
    l2mu_count_spikes(state->score, out_spikes);
}

int toy_classify(const toy_state_t *state)
{
    return l2mu_argmax_i32(state->score, 2);
}

const int32_t *toy_scores(const toy_state_t *state)
{
    return state->score;
}

int toy_run(toy_state_t *state, const float *samples, size_t steps)
{
    toy_reset(state);
    for (size_t step = 0; step < steps; ++step) {
        toy_step(state, samples + step * TOY_INPUTS);
    }
    return toy_classify(state);
}
