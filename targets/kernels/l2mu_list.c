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

/* Where the next spike goes. */
static inline uint16_t *listed(uint16_t *next, size_t channel, const int16_t *counts)
{
    if (counts[channel] <= 0) {
        return next;
    }
    *next = (uint16_t)channel;
    return next + 1;
}

void l2mu_list_counts(uint16_t *spikes, uint16_t channels, const int16_t *counts)
{
    uint16_t *next = spikes + 1;
    size_t channel = 0;
    for (; (channel + 4U) <= channels; channel += 4U) {
        const int16_t *const four = &counts[channel];
        if ((four[0] != 0) || (four[1] != 0) || (four[2] != 0) || (four[3] != 0)) {
            next = listed(next, channel, counts);
            next = listed(next, channel + 1U, counts);
            next = listed(next, channel + 2U, counts);
            next = listed(next, channel + 3U, counts);
        }
    }
    for (; channel < channels; ++channel) {
        next = listed(next, channel, counts);
    }
    spikes[0] = (uint16_t)(next - spikes - 1);
}
