/* made by a test
 * of two lines
 *
 * Constants of itoy.c, which alone includes this file.
 */
#ifndef ITOY_WEIGHTS_H
#define ITOY_WEIGHTS_H

#include "l2mu_kernels.h"

static const int32_t h_beta[1] = {
    16384,
};

static const int32_t h_threshold[1] = {
    20,
};

static const int32_t h_bias[2] = {
    1, -1,
};

static const int32_t out_beta[1] = {
    16384,
};

static const int32_t out_threshold[1] = {
    20,
};

static const int8_t h_from_x[4] L2MU_ALIGNED = {
    4, -4, 8, 1,
};

static const int32_t h_from_x_shift[2] = {
    2, 3,
};

static const int8_t h_from_h_last[4] L2MU_ALIGNED = {
    0, 5, 5, 0,
};

static const int8_t out_from_h[4] L2MU_ALIGNED = {
    30, -7, -7, 30,
};

static const l2mu_neurons_i32_t h_neurons = {
    .alpha = NULL,
    .beta = h_beta,
    .beta_step = 0,
    .threshold = h_threshold,
    .threshold_step = 0,
    .bias = h_bias,
    .size = 2,
    .low = -32768,
    .high = 32767,
};

static const l2mu_neurons_i32_t out_neurons = {
    .alpha = NULL,
    .beta = out_beta,
    .beta_step = 0,
    .threshold = out_threshold,
    .threshold_step = 0,
    .bias = NULL,
    .size = 2,
    .low = -32768,
    .high = 32767,
};

static const l2mu_input_i8_t h_from_x_synapses = {
    .weights = h_from_x,
    .blocks = 1,
    .rows = 2,
    .columns = 2,
    .block_step = 0,
    .shift = h_from_x_shift,
    .shift_step = 1,
};

static const l2mu_dense_i8_t h_from_h_last_synapses = {
    .weights = h_from_h_last,
    .targets = 2,
    .sources = 2,
};

static const l2mu_dense_i8_t out_from_h_synapses = {
    .weights = out_from_h,
    .targets = 2,
    .sources = 2,
};

#endif
