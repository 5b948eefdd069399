/* made by a test
 * of two lines
 *
 * Constants of toy.c, which alone includes this file.
 */
#ifndef TOY_WEIGHTS_H
#define TOY_WEIGHTS_H

#include "l2mu_kernels.h"

static const float h_beta[1] = {
    0.5f,
};

static const float h_threshold[1] = {
    1.0f,
};

static const float out_beta[1] = {
    0.5f,
};

static const float out_threshold[1] = {
    1.0f,
};

static const float h_from_x[6] = {
    1.0f, 0.0f, 0.0f, 1.0f, 0.5f, 0.5f,
};

static const float out_from_h[6] = {
    1.5f, -0.5f, -0.5f, 1.5f, 0.25f, 0.25f,
};

static const l2mu_neurons_f32_t h_neurons = {
    .alpha = NULL,
    .beta = h_beta,
    .beta_step = 0,
    .threshold = h_threshold,
    .threshold_step = 0,
    .bias = NULL,
    .size = 3,
};

static const l2mu_neurons_f32_t out_neurons = {
    .alpha = NULL,
    .beta = out_beta,
    .beta_step = 0,
    .threshold = out_threshold,
    .threshold_step = 0,
    .bias = NULL,
    .size = 2,
};

static const l2mu_input_f32_t h_from_x_synapses = {
    .weights = h_from_x,
    .blocks = 1,
    .rows = 3,
    .columns = 2,
    .block_step = 0,
};

static const l2mu_dense_f32_t out_from_h_synapses = {
    .weights = out_from_h,
    .targets = 2,
    .sources = 3,
};

#endif
