/* made by a test
 * of two lines
 *
 * Constants of thin.c, which alone includes this file.
 */
#ifndef THIN_WEIGHTS_H
#define THIN_WEIGHTS_H

#include "l2mu_kernels.h"

static const int32_t h_beta[1] = {
    60154,
};

static const int16_t h_threshold[16] L2MU_ALIGNED = {
    363, 363, 363, 363, 363, 363, 363, 363, 363, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
};

static const int16_t h_bias[16] L2MU_ALIGNED = {
    -32, 148, 184, -86, -155, 41, 67, 111, 57, 0, 0, 0, 0, 0, 0, 0,
};

static const int32_t m_beta[1] = {
    49064,
};

static const int16_t m_threshold[32] L2MU_ALIGNED = {
    266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266, 266,
    266, 266, 266, 266, 266, 266, 266, 266, 32767, 32767, 32767, 32767, 32767,
};

static const int16_t m_bias[32] L2MU_ALIGNED = {
    166, 170, 144, 88, 167, -195, -190, 119, -26, 99, -7, 160, -174, 69, -198, -141, 132, -83, 193,
    -61, 113, 184, -74, 191, 82, 187, -81, 0, 0, 0, 0, 0,
};

static const int32_t out_beta[1] = {
    55296,
};

static const int16_t out_threshold[8] L2MU_ALIGNED = {
    395, 395, 395, 32767, 32767, 32767, 32767, 32767,
};

static const int16_t out_bias[8] L2MU_ALIGNED = {
    186, -89, -8, 0, 0, 0, 0, 0,
};

static const int8_t h_from_x[18] L2MU_ALIGNED = {
    124, -74, 124, -99, 98, 95, 105, 95, 53, 20, 13, -108, 108, 107, -106, 24, -34, 62,
};

static const int32_t h_from_x_shift[1] = {
    11,
};

static const int8_t h_from_h_last[81] L2MU_ALIGNED = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

static const int8_t m_from_h[8] L2MU_ALIGNED = {
    -3, 16, -14, 4, 16, 4, -9, -8,
};

static const uint8_t m_from_h_delta[8] L2MU_ALIGNED = {
    0, 1, 1, 1, 1, 1, 1, 1,
};

static const uint16_t m_from_h_start[10] = {
    0, 8, 8, 8, 8, 8, 8, 8, 8, 8,
};

static const int8_t m_from_m_last[81] L2MU_ALIGNED = {
    19, -10, 13, -1, 1, -3, -3, -8, 11, 7, -12, -3, 16, 12, -3, -8, 3, -9, 3, 3, -5, -3, -9, 7, -10,
    10, 18, -15, 17, -6, 23, 13, -13, 15, -1, 22, 17, -15, 15, 13, 17, 3, -3, 2, 5, 17, 24, 24, 11,
    12, -10, 5, 24, 21, -5, -5, -9, 11, -12, 17, 16, -14, 10, 23, -4, -7, 12, -15, 6, 9, 5, -1, -9,
    5, 5, 12, 14, 9, 14, 6, 2,
};

static const int8_t out_from_m[28] L2MU_ALIGNED = {
    65, 31, 78, 0, 94, 43, 90, 0, 99, -51, -43, 0, -16, -51, 14, 0, -5, 20, 39, 0, -41, 8, -12, 0,
    13, 26, 50, 0,
};

static const uint8_t out_from_m_delta[7] L2MU_ALIGNED = {
    0, 0, 0, 0, 0, 0, 0,
};

static const uint16_t out_from_m_start[28] = {
    0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 6, 6, 6, 7, 7, 7, 7,
};

static const int8_t m_from_out_last[27] L2MU_ALIGNED = {
    -42, 73, 24, 62, 41, 11, 38, 72, -41, -22, 49, -5, 6, 47, -58, -40, 38, 88, -48, -57, -43, 88,
    -30, -14, 54, 82, 98,
};

static const l2mu_neurons_i16_t h_neurons = {
    .alpha = NULL,
    .beta = h_beta,
    .beta_step = 0,
    .threshold = h_threshold,
    .bias = h_bias,
    .size = 9,
    .bounded = 0,
};

static const l2mu_neurons_i16_t m_neurons = {
    .alpha = NULL,
    .beta = m_beta,
    .beta_step = 0,
    .threshold = m_threshold,
    .bias = m_bias,
    .size = 27,
    .bounded = 1,
};

static const l2mu_neurons_i16_t out_neurons = {
    .alpha = NULL,
    .beta = out_beta,
    .beta_step = 0,
    .threshold = out_threshold,
    .bias = out_bias,
    .size = 3,
    .bounded = 1,
};

static const l2mu_input_i8_t h_from_x_synapses = {
    .weights = h_from_x,
    .blocks = 1,
    .rows = 9,
    .columns = 2,
    .block_step = 0,
    .shift = h_from_x_shift,
    .shift_step = 0,
};

static const l2mu_dense_i8_t h_from_h_last_synapses = {
    .weights = h_from_h_last,
    .targets = 9,
    .sources = 9,
};

static const l2mu_sparse_i8_t m_from_h_synapses = {
    .weights = m_from_h,
    .delta = m_from_h_delta,
    .start = m_from_h_start,
    .targets = 27,
};

static const l2mu_sparse_i8_t out_from_m_synapses = {
    .weights = out_from_m,
    .delta = out_from_m_delta,
    .start = out_from_m_start,
    .targets = 3,
};

#endif
