/* For 32-bit Arm processors with an FPU: eight targets at a time; each channel's weights are neighbours. */
#if !defined(__arm__) || !defined(__ARM_FP)
#error "this file is for Arm processors with an FPU; compile the network for this processor, see --target"
#endif

#include "l2mu_kernels.h"

/* A sample's channels, at least one, and how far the weights of two of them are apart. */
typedef struct {
    const float *channel;
    const float *end;
    size_t stride;
} channels_t;

#define MULTIPLY(weight) "    vmul.f32 s" weight ", s" weight ", s16\n"
#define ADD(sum, current) "    vadd.f32 s" sum ", s" sum ", s" current "\n"

static inline void add_to_eight(float *v, const float *weights, channels_t channels)
{
    float *const sums = v;
    const float *channel = channels.channel;
    __asm__ volatile("    vldmia %[v], {s0-s7}\n"
                     "1:  vldmia %[channel]!, {s16}\n"
                     "    vldmia %[weights], {s8-s15}\n"
                     "    add    %[weights], %[weights], %[stride]\n"
                     MULTIPLY("8") MULTIPLY("9") MULTIPLY("10") MULTIPLY("11")
                     MULTIPLY("12") MULTIPLY("13") MULTIPLY("14") MULTIPLY("15")
                     ADD("0", "8") ADD("1", "9") ADD("2", "10") ADD("3", "11")
                     ADD("4", "12") ADD("5", "13") ADD("6", "14") ADD("7", "15")
                     "    cmp    %[channel], %[end]\n"
                     "    bne    1b\n"
                     "    vstmia %[v], {s0-s7}\n"
                     : [weights] "+&r"(weights), [channel] "+&r"(channel)
                     : [v] "r"(sums), [end] "r"(channels.end),
                       [stride] "r"(channels.stride * sizeof *weights)
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
                       "s10", "s11", "s12", "s13", "s14", "s15", "s16");
}

static inline void add_to_one(float *v, const float *weights, channels_t channels)
{
    const float *weight = weights;
    float total = *v;
    for (const float *channel = channels.channel; channel != channels.end; ++channel) {
        const float current = *weight * *channel;
        total += current;
        weight = &weight[channels.stride];
    }
    *v = total;
}

void l2mu_input_f32_fpu(const l2mu_input_f32_t *p, float *v, const float *sample)
{
    const size_t rows = p->rows;
    const float *weights = p->weights;
    const float *channel = sample;
    float *target = v;
    for (size_t block = 0; block < p->blocks; ++block) {
        const channels_t channels = {channel, &channel[p->columns], rows};
        size_t row = 0;
        for (; (row + 8U) <= rows; row += 8U) {
            add_to_eight(&target[row], &weights[row], channels);
        }
        for (; row < rows; ++row) {
            add_to_one(&target[row], &weights[row], channels);
        }
        weights = &weights[p->block_step];
        channel = channels.end;
        target = &target[rows];
    }
}
