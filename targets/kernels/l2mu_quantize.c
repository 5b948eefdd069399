#include "l2mu_kernels.h"

void l2mu_quantize_sample(int16_t *quantized, uint16_t channels, const float *sample, float scale)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        float scaled = sample[channel] * scale;
        if (scaled != scaled) {
            scaled = 0.0f;
        }
        scaled = (scaled < -32768.0f) ? -32768.0f : ((scaled > 32767.0f) ? 32767.0f : scaled);
        scaled += 0.5f;
        int32_t whole = (int32_t)scaled;
        if ((float)whole > scaled) {
            whole -= 1;
        }
        quantized[channel] = (int16_t)whole;
    }
}
