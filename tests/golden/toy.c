/* made by a test
 * of two lines */
#include "toy.h"

#include <string.h>

#include "l2mu_kernels.h"
#include "toy_weights.h"

/* The structs are as large as the header says. */
typedef char toy_state_size_check[(sizeof(toy_state_t) == (size_t)TOY_STATE_BYTES) ? 1 : -1];

void toy_reset(toy_state_t *state)
{
    (void)memset(state, 0, sizeof *state);
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
    l2mu_input_f32(&h_from_x_synapses, state->h_membrane, sample);
    l2mu_fire_subtract_f32(&h_neurons, state->h_membrane, h_spikes);

    /* out */
    l2mu_accumulate_dense_f32(&out_from_h_synapses, state->out_membrane, h_spikes);
    l2mu_fire_subtract_f32(&out_neurons, state->out_membrane, out_spikes);

    /* readout */
    l2mu_count_spikes(state->score, out_spikes);
}

void toy_step_raw(toy_state_t *state, const int16_t *counts)
{
    float converted[TOY_INPUTS];

    l2mu_convert_counts(converted, 2, counts);
    toy_step(state, converted);
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
        toy_step(state, &samples[step * (size_t)TOY_INPUTS]);
    }
    return toy_classify(state);
}

int toy_run_raw(toy_state_t *state, const int16_t *counts, size_t steps)
{
    toy_reset(state);
    for (size_t step = 0; step < steps; ++step) {
        toy_step_raw(state, &counts[step * (size_t)TOY_INPUTS]);
    }
    return toy_classify(state);
}

static const char *const class_names[TOY_CLASSES] = {
    "0", "1",
};

const char *toy_class_name(int label)
{
    return ((label >= 0) && (label < TOY_CLASSES)) ? class_names[label] : NULL;
}

const char *toy_version(void)
{
    return "l2mu-compile of a test";
}

static const char digest[] = "16248a34c06f951e7f7d90b93b5a9a7f46a360df7363315c9831e6f78a00ad80";

const char *toy_digest(void)
{
    return digest;
}

/* What is saved of a state, and which values it may have. */
static const l2mu_member_t members[] = {
    {offsetof(toy_state_t, h_membrane), 3, 4, L2MU_FLOATS, 0, 0},
    {offsetof(toy_state_t, out_membrane), 2, 4, L2MU_FLOATS, 0, 0},
    {offsetof(toy_state_t, score), 2, 4, L2MU_INTEGERS, 0, 1073741824},
};

static const l2mu_layout_t layout = {members, sizeof(members) / sizeof(members[0]), digest,
                                      sizeof(toy_state_t)};

void toy_save(const toy_state_t *state, uint8_t *bytes)
{
    l2mu_save_state(&layout, state, bytes);
}

int toy_restore(toy_state_t *state, const uint8_t *bytes, size_t size)
{
    return l2mu_restore_state(&layout, state, bytes, size);
}
