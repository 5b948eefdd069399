/* made by a test
 * of two lines */
#include "itoy.h"

#include <string.h>

#include "l2mu_kernels.h"
#include "itoy_weights.h"

/* The structs are as large as the header says. */
typedef char itoy_state_size_check[(sizeof(itoy_state_t) == (size_t)ITOY_STATE_BYTES) ? 1 : -1];
typedef char itoy_stream_size_check[(sizeof(itoy_stream_t) == (size_t)ITOY_STREAM_BYTES) ? 1 : -1];

void itoy_reset(itoy_state_t *state)
{
    (void)memset(state, 0, sizeof *state);
    l2mu_add_bias_i32(&h_neurons, state->h_membrane);
}

void itoy_init(itoy_state_t *state)
{
    itoy_reset(state);
}

/* One time step; the sample is in the network's own integers. */
static void advance(itoy_state_t *state, const int16_t *sample)
{
    uint16_t *const h_spikes = &state->scratch[0];
    uint16_t *const out_spikes = &state->scratch[3];

    /* h */
    l2mu_input_i8_i32(&h_from_x_synapses, state->h_membrane, sample);
    l2mu_fire_subtract_i32(&h_neurons, state->h_membrane, h_spikes);
    l2mu_accumulate_dense_i8_i32(&h_from_h_last_synapses, state->h_membrane, h_spikes);

    /* out */
    l2mu_accumulate_dense_i8_i32(&out_from_h_synapses, state->out_membrane, h_spikes);
    l2mu_fire_subtract_i32(&out_neurons, state->out_membrane, out_spikes);

    /* readout */
    l2mu_count_spikes(state->score, out_spikes);
}

void itoy_step(itoy_state_t *state, const float *sample)
{
    int16_t *const converted = (int16_t *)&state->scratch[3];

    l2mu_quantize_sample(converted, 2, sample, 4);
    advance(state, converted);
}

void itoy_step_raw(itoy_state_t *state, const int16_t *counts)
{
    int16_t *const converted = (int16_t *)&state->scratch[3];

    l2mu_quantize_counts(converted, 2, counts, 16, 0);
    advance(state, converted);
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
        itoy_step(state, &samples[step * (size_t)ITOY_INPUTS]);
    }
    return itoy_classify(state);
}

int itoy_run_raw(itoy_state_t *state, const int16_t *counts, size_t steps)
{
    itoy_reset(state);
    for (size_t step = 0; step < steps; ++step) {
        itoy_step_raw(state, &counts[step * (size_t)ITOY_INPUTS]);
    }
    return itoy_classify(state);
}

void itoy_stream_reset(itoy_stream_t *stream)
{
    (void)memset(stream, 0, sizeof *stream);
    stream->decision = -1;
}

void itoy_stream_init(itoy_stream_t *stream)
{
    itoy_stream_reset(stream);
}

/* A window starts every ITOY_HOP samples, in the next lane. `time` counts samples; from the end of the
 * second round of lanes it goes back to the end of the first, where every lane is at the same step. */
static int push(itoy_stream_t *stream, const int16_t *sample)
{
    const uint32_t window = ITOY_WINDOW;
    const uint32_t hop = ITOY_HOP;
    const uint32_t lanes = ITOY_LANES;
    const uint32_t cycle = lanes * hop;
    int ended = 0;
    for (uint32_t i = 0; (i < lanes) && ((i * hop) <= stream->time); ++i) {
        itoy_state_t *const lane = &stream->lane[i];
        const uint32_t step = (stream->time - (i * hop)) % cycle;
        if (step == 0U) {
            itoy_reset(lane);
        }
        if (step < window) {
            advance(lane, sample);
        }
        if (step == (window - 1U)) {
            stream->decision = itoy_classify(lane);
            (void)memcpy(stream->score, lane->score, sizeof stream->score);
            ended = 1;
        }
    }
    stream->time += 1U;
    if (stream->time == (2U * cycle)) {
        stream->time = cycle;
    }
    return ended;
}

int itoy_push(itoy_stream_t *stream, const float *sample)
{
    int16_t *const converted = stream->sample;

    l2mu_quantize_sample(converted, 2, sample, 4);
    return push(stream, converted);
}

int itoy_push_raw(itoy_stream_t *stream, const int16_t *counts)
{
    int16_t *const converted = stream->sample;

    l2mu_quantize_counts(converted, 2, counts, 16, 0);
    return push(stream, converted);
}

int itoy_decision(const itoy_stream_t *stream)
{
    return (int)stream->decision;
}

const int32_t *itoy_stream_scores(const itoy_stream_t *stream)
{
    return stream->score;
}

static const char *const class_names[ITOY_CLASSES] = {
    "up", "down \"\?\?/\"",
};

const char *itoy_class_name(int label)
{
    return ((label >= 0) && (label < ITOY_CLASSES)) ? class_names[label] : NULL;
}

const char *itoy_version(void)
{
    return "l2mu-compile of a test";
}

static const char digest[] = "e5d923d20bb93fb8dbc9bae3b097c715ca3220a09dab2747faf37218c325b3d4";

const char *itoy_digest(void)
{
    return digest;
}

/* What is saved of a state, and which values it may have. */
static const l2mu_member_t members[] = {
    {offsetof(itoy_state_t, h_membrane), 2, 4, L2MU_INTEGERS, -32794, 32794},
    {offsetof(itoy_state_t, out_membrane), 2, 4, L2MU_INTEGERS, -32788, 32788},
    {offsetof(itoy_state_t, score), 2, 4, L2MU_INTEGERS, 0, 1073741824},
};

static const l2mu_layout_t layout = {members, sizeof(members) / sizeof(members[0]), digest,
                                      sizeof(itoy_state_t)};

void itoy_save(const itoy_state_t *state, uint8_t *bytes)
{
    l2mu_save_state(&layout, state, bytes);
}

int itoy_restore(itoy_state_t *state, const uint8_t *bytes, size_t size)
{
    return l2mu_restore_state(&layout, state, bytes, size);
}
