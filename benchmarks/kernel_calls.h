/* A case: one call of a kernel. `n` are its targets, rows, neurons, channels or classes;
 * `columns` of a sparse projection the tiles of every source. Of a convolution `n` are target channels,
 * `blocks` source channels, `columns` the rows and columns of its kernel, `side` those of the source map. */
#ifndef KERNEL_CALLS_H
#define KERNEL_CALLS_H

#include "l2mu_kernels.h"

typedef struct {
    uint16_t kernel;
    uint16_t numbers;
    uint16_t n;
    uint16_t columns;
    uint16_t blocks;
    uint16_t sources;
    uint16_t spikes;
    uint16_t biased;
    uint16_t own;
    uint16_t bounded;
    uint16_t synaptic;
    uint16_t targets; /* of all blocks */
    uint16_t side;
} case_t;

extern const void *const weights;
extern void *const first;
extern void *const second;
extern const float *const sample;
extern const float *const spiking_sample;
extern uint8_t *const flags;
extern const int32_t *const margins;
extern const int32_t *const shifts;
extern const uint16_t *const spikes;
extern uint16_t *const listed;
extern uint16_t rows;
extern uint16_t columns;
extern uint16_t source_count;
extern l2mu_neurons_f32_t neurons_f32;
extern l2mu_neurons_i32_t neurons_i32;
extern l2mu_neurons_i16_t neurons_i16;
extern l2mu_dense_f32_t dense_f32;
extern l2mu_dense_i8_t dense_i8;
extern l2mu_sparse_i8_t sparse_i8;
extern l2mu_packed_t packed;
extern l2mu_input_f32_t input_f32;
extern l2mu_input_i8_t input_i8;
extern l2mu_slide_t slide;

void start(void);
void prepare(const case_t *c);
void repeat(void (*call)(void), uint32_t times);

/* Generated: functions that call one kernel each. */
extern void (*const calls[])(void);

#endif
