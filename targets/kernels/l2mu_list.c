#include "l2mu_kernels.h"

void l2mu_list_samples(uint16_t *spikes, uint16_t channels, const float *sample)
{
    uint16_t *next = spikes + 1;
    for (size_t channel = 0; channel < channels; ++channel) {
        if (sample[channel] > 0.5f) {
            *next = (uint16_t)channel;
            ++next;
        }
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}

void l2mu_list_counts(uint16_t *spikes, uint16_t channels, const int16_t *counts)
{
    uint16_t *next = spikes + 1;
    for (size_t channel = 0; channel < channels; ++channel) {
        if (counts[channel] > 0) {
            *next = (uint16_t)channel;
            ++next;
        }
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}
