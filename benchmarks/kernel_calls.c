/* Arguments for any kernel, of the sizes of a case; what calls them is generated. */
#include "kernel_calls.h"

#include <string.h>

#define MOST 1024U /* neurons, channels or sources */
#define WEIGHT_BYTES (256U * 1024U)
#define TILES 8192U

enum { FLOATS, WIDE, NARROW };

static uint64_t memory[WEIGHT_BYTES / sizeof(uint64_t)];
static uint64_t first_array[MOST];
static uint64_t second_array[MOST];
static float samples[MOST];
static float spiking_samples[MOST];
static uint8_t flag_array[MOST];
static uint8_t delta_array[TILES];
static uint16_t start_array[MOST + 1U];
static uint16_t list[MOST + 1U];
static uint16_t found[MOST + 1U];

static float decay_f32[MOST];
static float threshold_f32[MOST];
static float bias_f32[MOST];
static int32_t decay_i32[MOST];
static int32_t threshold_i32[MOST];
static int32_t bias_i32[MOST];
static int16_t threshold_i16[MOST] L2MU_ALIGNED;
static int16_t bias_i16[MOST] L2MU_ALIGNED;
static int32_t shift[MOST];
static int32_t margin_array[MOST];
static uint16_t read_start[MOST + 1U];
static uint16_t read_kernel[MOST];
static uint16_t read_other[MOST];

const void *const weights = memory;
void *const first = first_array;
void *const second = second_array;
const float *const sample = samples;
const float *const spiking_sample = spiking_samples;
uint8_t *const flags = flag_array;
const int32_t *const margins = margin_array;
const int32_t *const shifts = shift;
const uint16_t *const spikes = list;
uint16_t *const listed = found;
uint16_t rows;
uint16_t columns;
uint16_t source_count;
l2mu_neurons_f32_t neurons_f32 = {.alpha = decay_f32, .beta = decay_f32, .threshold = threshold_f32};
l2mu_neurons_i32_t neurons_i32 = {.alpha = decay_i32,
                                  .beta = decay_i32,
                                  .threshold = threshold_i32,
                                  .low = -32768,
                                  .high = 32767};
l2mu_neurons_i16_t neurons_i16 = {
    .alpha = decay_i32, .beta = decay_i32, .threshold = threshold_i16};
l2mu_dense_f32_t dense_f32;
l2mu_dense_i8_t dense_i8;
l2mu_sparse_i8_t sparse_i8;
l2mu_packed_t packed;
l2mu_input_f32_t input_f32;
l2mu_input_i8_t input_i8;
l2mu_slide_t slide;

static uint32_t random_state;

static uint32_t random_below(uint32_t limit)
{
    random_state = (random_state * 1664525U) + 1013904223U;
    return (uint32_t)(((uint64_t)random_state * limit) >> 32U);
}

/* Any `count` of `of`, all as likely. */
static void draw_spikes(uint16_t of, uint16_t count)
{
    uint16_t *next = &list[1];
    uint32_t wanted = count;
    for (uint32_t j = 0; j < of; ++j) {
        const uint32_t fires = (random_below(of - j) < wanted) ? 1U : 0U;
        flag_array[j] = (uint8_t)fires;
        spiking_samples[j] = (float)fires;
        *next = (uint16_t)j;
        next += fires;
        wanted -= fires;
    }
    list[0] = count;
}

/* Membranes above the threshold, which is 1000, where there are spikes, else below. */
static void set_neuron(void *v, uint16_t numbers, size_t j, int32_t value)
{
    if (numbers == FLOATS) {
        ((float *)v)[j] = (float)value * 0.001F;
    } else if (numbers == WIDE) {
        ((int32_t *)v)[j] = value;
    } else {
        ((int16_t *)v)[j] = (int16_t)value;
    }
}

static void set_neurons(const case_t *c)
{
    const size_t padded = ((size_t)c->n + 7U) / 8U * 8U;
    (void)memset(first, 0, padded * sizeof(uint64_t));
    (void)memset(second, 0, padded * sizeof(uint64_t));
    for (size_t j = 0; j < c->targets; ++j) {
        set_neuron(first, c->numbers, j, (int32_t)((j * 37U) % 1400U) - 500);
    }
    for (size_t j = 0; j < padded; ++j) {
        const int32_t other = (int32_t)((j * 37U) % 1400U) - 500;
        const int32_t below = (other < 900) ? other : 900;
        const int32_t value = (flag_array[j] != 0U) ? 1500 : below;
        threshold_i16[j] = (j < c->n) ? 1000 : INT16_MAX;
        bias_i16[j] = (j < c->n) ? 10 : 0;
        decay_i32[j] = (c->numbers == NARROW) ? 58982 : 29491;
        if (j < c->n) {
            set_neuron(first, c->numbers, j, (c->synaptic != 0U) ? 0 : value);
            set_neuron(second, c->numbers, j, value);
        } else {
            decay_i32[j] = 0;
        }
    }
    neurons_f32.size = c->n;
    neurons_f32.bias = (c->biased != 0U) ? bias_f32 : NULL;
    neurons_f32.alpha_step = neurons_f32.beta_step = neurons_f32.threshold_step = (uint8_t)c->own;
    neurons_i32.size = c->n;
    neurons_i32.bias = (c->biased != 0U) ? bias_i32 : NULL;
    neurons_i32.alpha_step = neurons_i32.beta_step = neurons_i32.threshold_step = (uint8_t)c->own;
    neurons_i16.size = c->n;
    neurons_i16.bias = (c->biased != 0U) ? bias_i16 : NULL;
    neurons_i16.beta_step = (uint8_t)c->own;
    neurons_i16.bounded = (uint8_t)c->bounded;
}

/* All tiles of a source are neighbours. */
static void set_tiles(const case_t *c)
{
    const size_t tiles = ((size_t)c->sources * c->columns <= TILES) ? c->columns : 0U;
    for (size_t i = 0; i <= c->sources; ++i) {
        start_array[i] = (uint16_t)(i * tiles);
    }
    for (size_t k = 0; k < c->sources * tiles; ++k) {
        delta_array[k] = ((k % tiles) == 0U) ? 0U : 1U;
    }
    sparse_i8 = (l2mu_sparse_i8_t){weights, delta_array, start_array, c->n};
}

/* What rows of the source map read, which are as many as columns: nothing follows from them where nothing
 * spikes, so that the reads of target rows stand there then. */
static void set_slide(const case_t *c)
{
    if (c->side == 0U) {
        return;
    }
    const uint16_t side = (uint16_t)(c->side - c->columns + 1U);
    const uint16_t own = (c->spikes > 0U) ? c->side : side;
    uint16_t reads = 0;
    for (uint16_t i = 0; i < own; ++i) {
        read_start[i] = reads;
        for (uint16_t k = 0; k < c->columns; ++k) {
            const uint16_t other = (uint16_t)((c->spikes > 0U) ? (i - k) : (i + k));
            if (other < ((c->spikes > 0U) ? side : c->side)) {
                read_kernel[reads] = k;
                read_other[reads] = other;
                ++reads;
            }
        }
    }
    read_start[own] = reads;
    slide = (l2mu_slide_t){
        read_start, read_kernel, read_other, read_start, read_kernel, read_other, c->side, c->side,
        c->blocks,  c->n,        c->n,       (uint16_t)(side * side), side, c->columns, c->columns};
}

void start(void)
{
    for (size_t i = 0; i < (WEIGHT_BYTES / sizeof(float)); ++i) {
        ((float *)memory)[i] = ((float)(int32_t)random_below(2001U) - 1000.0F) * 0.00123F;
    }
    for (size_t j = 0; j < MOST; ++j) {
        samples[j] = ((float)(int32_t)random_below(2001U) - 1000.0F) * 0.01F;
        shift[j] = 11;
        margin_array[j] = 100000; /* which no lead is as large as */
        decay_f32[j] = 0.9F;
        threshold_f32[j] = 1.0F;
        bias_f32[j] = 0.01F;
        threshold_i32[j] = 1000;
        bias_i32[j] = 10;
    }
}

void prepare(const case_t *c)
{
    random_state = 1U + c->n + c->spikes;
    (void)memset(flag_array, 0, sizeof flag_array);
    draw_spikes(c->sources, c->spikes);
    set_neurons(c);
    set_tiles(c);
    set_slide(c);
    rows = c->n;
    columns = c->columns;
    source_count = c->sources;
    dense_f32 = (l2mu_dense_f32_t){weights, c->n, c->sources};
    dense_i8 = (l2mu_dense_i8_t){weights, c->n, c->sources};
    packed = (l2mu_packed_t){weights, threshold_i16, c->n, c->sources};
    input_f32 = (l2mu_input_f32_t){weights, c->blocks, c->n, c->columns, 0};
    input_i8 = (l2mu_input_i8_t){weights, shift, c->blocks, c->n, c->columns, 0, 1};
}

void repeat(void (*call)(void), uint32_t times)
{
    for (uint32_t i = 0; i < times; ++i) {
        call();
    }
}
