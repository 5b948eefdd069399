/* made by a test
 * of two lines */
#include "thin.h"

#include <string.h>

#include "l2mu_kernels.h"
#include "thin_weights.h"

/* The structs are as large as the header says. */
typedef char thin_state_size_check[(sizeof(thin_state_t) == (size_t)THIN_STATE_BYTES) ? 1 : -1];

void thin_reset(thin_state_t *state)
{
    (void)memset(state, 0, sizeof *state);
    l2mu_add_bias_i16(&h_neurons, state->h_membrane);
    l2mu_add_bias_i16(&m_neurons, state->m_membrane);
    l2mu_add_bias_i16(&out_neurons, state->out_membrane);
}

void thin_init(thin_state_t *state)
{
    thin_reset(state);
}

/* One time step; the sample is in the network's own integers. */
static void advance(thin_state_t *state, const int16_t *sample)
{
    uint16_t *const m_spikes = &state->scratch[0];
    uint16_t *const h_spikes = &state->scratch[28];
    uint16_t *const out_spikes = &state->scratch[28];

    /* h */
    l2mu_input_i8_i16(&h_from_x_synapses, state->h_membrane, sample);
    l2mu_fire_zero_i16(&h_neurons, state->h_membrane, h_spikes);
    l2mu_accumulate_dense_i8_i16(&h_from_h_last_synapses, state->h_membrane, h_spikes);

    /* m */
    l2mu_accumulate_sparse1_i8_i16(&m_from_h_synapses, state->m_membrane, h_spikes);
    l2mu_fire_zero_i16(&m_neurons, state->m_membrane, m_spikes);
    l2mu_accumulate_shared_i8_i16(state->m_membrane, 9, 9, m_from_m_last, m_spikes);

    /* out */
    l2mu_accumulate_sparse4_i8_i16(&out_from_m_synapses, state->out_membrane, m_spikes);
    l2mu_fire_zero_i16(&out_neurons, state->out_membrane, out_spikes);

    /* readout */
    l2mu_count_spikes(state->score, out_spikes);

    /* m */
    l2mu_accumulate_distinct_i8_i16(state->m_membrane, 9, 1, m_from_out_last, out_spikes);
}

void thin_step(thin_state_t *state, const float *sample)
{
    int16_t *const converted = (int16_t *)&state->scratch[0];

    l2mu_quantize_sample(converted, 2, sample, 10);
    advance(state, converted);
}

void thin_step_raw(thin_state_t *state, const int16_t *counts)
{
    int16_t *const converted = (int16_t *)&state->scratch[0];

    l2mu_quantize_counts(converted, 2, counts, 1024, 0);
    advance(state, converted);
}

int thin_classify(const thin_state_t *state)
{
    return l2mu_argmax_i32(state->score, 3);
}

const int32_t *thin_scores(const thin_state_t *state)
{
    return state->score;
}

int thin_run(thin_state_t *state, const float *samples, size_t steps)
{
    thin_reset(state);
    for (size_t step = 0; step < steps; ++step) {
        thin_step(state, &samples[step * (size_t)THIN_INPUTS]);
    }
    return thin_classify(state);
}

int thin_run_raw(thin_state_t *state, const int16_t *counts, size_t steps)
{
    thin_reset(state);
    for (size_t step = 0; step < steps; ++step) {
        thin_step_raw(state, &counts[step * (size_t)THIN_INPUTS]);
    }
    return thin_classify(state);
}

static const char *const class_names[THIN_CLASSES] = {
    "0", "1", "2",
};

const char *thin_class_name(int label)
{
    return ((label >= 0) && (label < THIN_CLASSES)) ? class_names[label] : NULL;
}

const char *thin_version(void)
{
    return "l2mu-compile of a test";
}

static const char digest[] = "0010ee16f911edb3cbdaa6bfe5324b5df7b692b708f0dd942d42e0f68681ad69";

const char *thin_digest(void)
{
    return digest;
}

/* What is saved of a state, and which values it may have. */
static const l2mu_member_t members[] = {
    {offsetof(thin_state_t, score), 3, 4, L2MU_INTEGERS, 0, 1073741824},
    {offsetof(thin_state_t, h_membrane), 9, 2, L2MU_INTEGERS, -8347, 8376},
    {offsetof(thin_state_t, m_membrane), 27, 2, L2MU_INTEGERS, -8178, 8175},
    {offsetof(thin_state_t, out_membrane), 3, 2, L2MU_INTEGERS, -8090, 7920},
};

static const l2mu_layout_t layout = {members, sizeof(members) / sizeof(members[0]), digest,
                                      sizeof(thin_state_t)};

void thin_save(const thin_state_t *state, uint8_t *bytes)
{
    l2mu_save_state(&layout, state, bytes);
}

int thin_restore(thin_state_t *state, const uint8_t *bytes, size_t size)
{
    return l2mu_restore_state(&layout, state, bytes, size);
}
