#include "l2mu_kernels.h"

void l2mu_count_spikes(int32_t *score, const uint16_t *spikes)
{
    for (size_t k = 1; k <= spikes[0]; ++k) {
        score[spikes[k]] += 1;
    }
}

void l2mu_maximum_f32(float *score, uint16_t classes, const float *v)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] = (v[j] > score[j]) ? v[j] : score[j];
    }
}

void l2mu_maximum_i32(int32_t *score, uint16_t classes, const int32_t *v)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] = (v[j] > score[j]) ? v[j] : score[j];
    }
}

void l2mu_sum_f32(float *score, uint16_t classes, const float *v)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] += v[j];
    }
}

void l2mu_sum_i64(int64_t *score, uint16_t classes, const int32_t *v)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] += v[j];
    }
}

void l2mu_copy_f32(float *score, uint16_t classes, const float *v)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] = v[j];
    }
}

void l2mu_copy_i32(int32_t *score, uint16_t classes, const int32_t *v)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] = v[j];
    }
}

void l2mu_fill_f32(float *score, uint16_t classes, float value)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] = value;
    }
}

void l2mu_fill_i32(int32_t *score, uint16_t classes, int32_t value)
{
    for (size_t j = 0; j < classes; ++j) {
        score[j] = value;
    }
}

int l2mu_argmax_f32(const float *score, uint16_t classes)
{
    int best = 0;
    for (int j = 1; j < (int)classes; ++j) {
        best = (score[j] > score[best]) ? j : best;
    }
    return best;
}

int l2mu_argmax_i32(const int32_t *score, uint16_t classes)
{
    int best = 0;
    for (int j = 1; j < (int)classes; ++j) {
        best = (score[j] > score[best]) ? j : best;
    }
    return best;
}

int l2mu_argmax_i64(const int64_t *score, uint16_t classes)
{
    int best = 0;
    for (int j = 1; j < (int)classes; ++j) {
        best = (score[j] > score[best]) ? j : best;
    }
    return best;
}
