/* Kernels of l2mu-compile: the arithmetic of one time step of a spiking network.
 *
 * Every function works on arrays the caller owns, allocates nothing and keeps nothing. These portable
 * versions define what each kernel computes; they equal the compiler's interpreter bit for bit.
 *
 * Words: v membranes, syn synaptic currents, one element per neuron. A spike list is
 * uint16_t[1 + n]: the number of spikes, then the indices of the neurons that spiked, ascending.
 * Integer decays are Q15 (32768 is 1.0); their product is rounded down.
 */
#ifndef L2MU_KERNELS_H
#define L2MU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "l2mu kernels need IEEE arithmetic: compile them without -ffast-math"
#endif

/* A product is rounded before anything is added to it. GCC ignores ISO C's way to say so, and outside
 * its ISO modes (-std=c99) it fuses the two wherever the processor can. */
#if !defined(__GNUC__) || defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__FP_FAST_FMAF) && !defined(__STRICT_ANSI__)
#pragma GCC optimize("fp-contract=off")
#endif

/* Constants of which kernels read several at once are aligned to four bytes. Compilers that do not know
 * how to say so have the portable kernels alone, which do not need it. Those for AVX-512 do not either,
 * but rows that share fewer cache lines arrive sooner. */
#if defined(__AVX512F__)
#define L2MU_ALIGNED __attribute__((aligned(64)))
#elif defined(__GNUC__)
#define L2MU_ALIGNED __attribute__((aligned(4)))
#else
#define L2MU_ALIGNED
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Parameters of a population. A step of 0 means one value for all neurons, 1 one value each. */
typedef struct {
    const float *alpha;     /* synaptic decay in [0, 1]; CuBaLIF only, else NULL */
    const float *beta;      /* membrane decay in [0, 1] */
    const float *threshold; /* greater than 0; NULL for leaky integrators */
    const float *bias;      /* constant input current, one per neuron, or NULL */
    uint16_t size;          /* neurons */
    uint8_t alpha_step;
    uint8_t beta_step;
    uint8_t threshold_step;
} l2mu_neurons_f32_t;

typedef struct {
    const int32_t *alpha;     /* Q15 in [0, 32768] */
    const int32_t *beta;      /* Q15 in [0, 32768] */
    const int32_t *threshold; /* greater than 0 */
    const int32_t *bias;
    int32_t low; /* membranes and synapses saturate to [low, high] */
    int32_t high;
    uint16_t size;
    uint8_t alpha_step;
    uint8_t beta_step;
    uint8_t threshold_step;
} l2mu_neurons_i32_t;

/* Accumulators of int16: whichever of a step's currents are added to one, the sum is not beyond int16;
 * membranes and synapses saturate to L2MU_NARROW_BITS. All arrays are aligned to 4 bytes and filled up to a multiple
 * of 8: membranes, decays and biases with 0, thresholds with 32767. */
#define L2MU_NARROW_BITS 14

typedef struct {
    const int32_t *alpha;     /* Q16 in [0, 65536], even; CuBaLIF only, else NULL */
    const int32_t *beta;      /* Q16 in [0, 65536], even */
    const int16_t *threshold; /* in [1, 8191], one per neuron */
    const int16_t *bias;
    uint16_t size;
    uint8_t beta_step; /* and that of alpha */
    uint8_t bounded;   /* 1 if no sum is ever beyond a membrane, else 0; LIF only */
} l2mu_neurons_i16_t;

/* Synapses from every one of `sources` neurons to every one of `targets`: weights [source][target], or
 * as the kernel wants them. */
typedef struct {
    const float *weights;
    uint16_t targets;
    uint16_t sources;
} l2mu_dense_f32_t;

typedef struct {
    const int8_t *weights;
    uint16_t targets;
    uint16_t sources;
} l2mu_dense_i8_t;

/* Packed weights, of four bits (i4, s4) or two (i2): those of lower value in a byte are of the targets that
 * come first, each source begins a byte, or as the kernel wants them. A weight is a multiple of the quantum
 * of its target: i4 by its bits - 8, i2 by its bits - 1, s4 by what l2mu_accumulate_s4.c says. Quanta are
 * filled up with 0 to a multiple of 8. */
typedef struct {
    const uint8_t *weights;
    const int16_t *quantum;
    uint16_t targets;
    uint16_t sources;
} l2mu_packed_t;

/* Synapses whose weights are not zero, in tiles of neighbouring targets. Those of source i are the tiles
 * from start[i] to start[i + 1]. A tile is `delta` tiles further than the one before, a source's first
 * than the first targets. Targets that are filled up to a tile weigh 0. */
typedef struct {
    const int8_t *weights; /* [tile][target], or as the kernel wants them */
    const uint8_t *delta;
    const uint16_t *start;
    uint16_t targets;
} l2mu_sparse_i8_t;

/* Synapses from sample channels: `blocks` blocks of [rows, columns] along the diagonal of the weight
 * matrix, each target's weights contiguous, or as the kernel wants them. Consecutive blocks are
 * `block_step` weights, as many bytes of int8, apart (0: they are one and the same). */
typedef struct {
    const float *weights;
    uint16_t blocks;
    uint16_t rows;
    uint16_t columns;
    uint32_t block_step;
} l2mu_input_f32_t;

typedef struct {
    const int8_t *weights;
    const int32_t *shift; /* right shift of each target's sum, in [0, 30] */
    uint16_t blocks;
    uint16_t rows;
    uint16_t columns;
    uint32_t block_step;
    uint8_t shift_step;
} l2mu_input_i8_t;

/* Kernels that slide over a map of `height` rows and `width` columns for each source channel, to maps of
 * `positions` targets in rows of `target_width`. Every group of `channels` source channels has `out` target
 * channels. Which kernel row a source row reaches which target row with is told twice over: for spikes, the
 * reads of source row i are row_start[i] to row_start[i + 1], and `other` is the target row; for samples they are
 * those of target row i, and `other` is the source row. Likewise the columns. */
typedef struct {
    const uint16_t *row_start;
    const uint16_t *row_kernel;
    const uint16_t *row_other;
    const uint16_t *column_start;
    const uint16_t *column_kernel;
    const uint16_t *column_other;
    uint16_t height;
    uint16_t width;
    uint16_t channels;
    uint16_t out;
    uint16_t target_channels;
    uint16_t positions;
    uint16_t target_width;
    uint16_t kernel_height;
    uint16_t kernel_width;
} l2mu_slide_t;

/* Every population has an accumulator v, one element per neuron: between steps its membranes, decayed
 * and reset, with what the last step's spikes add; during a step it gathers the currents that arrive.
 * (The integer versions saturate it, and every membrane and synapse, to [low, high].) */

/* v += bias. */
void l2mu_add_bias_f32(const l2mu_neurons_f32_t *p, float *v);
void l2mu_add_bias_i32(const l2mu_neurons_i32_t *p, int32_t *v);
void l2mu_add_bias_i16(const l2mu_neurons_i16_t *p, int16_t *v);

/* LIF, once all currents are in v: list the neurons with v > threshold, then
 *   subtract: v = beta * v - threshold where they are listed, else beta * v; then + bias
 *   subtract_first: v = beta * (v - threshold) where they are listed, else beta * v; then + bias
 *   zero:     v = 0 where they are listed, else beta * v; then + bias
 *   none:     v = beta * v + bias */
void l2mu_fire_subtract_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_subtract_first_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_zero_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_none_f32(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_subtract_f32_neon64(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_zero_f32_neon64(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_none_f32_neon64(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_subtract_f32_avx512(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_zero_f32_avx512(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_none_f32_avx512(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_subtract_f32_avx2(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_zero_f32_avx2(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_none_f32_avx2(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_subtract_f32_fpu(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_zero_f32_fpu(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_none_f32_fpu(const l2mu_neurons_f32_t *p, float *v, uint16_t *spikes);
void l2mu_fire_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_first_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_none_i32(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_zero_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_none_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_zero_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_none_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i32_m0(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_zero_i32_m0(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_none_i32_m0(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_zero_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_none_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_zero_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_none_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_zero_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_none_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_first_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_subtract_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_zero_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);
void l2mu_fire_none_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, uint16_t *spikes);

/* CuBaLIF, once all currents are in syn, its accumulator:
 *   subtract: v = beta * v - threshold where v > threshold, else beta * v; then + syn
 *   subtract_first: v = beta * (v - threshold) where v > threshold, else beta * v; then + syn
 *   zero:     v = 0 where v > threshold, else beta * v; then + syn
 *   clamp:    v = 0 where v > threshold, else beta * v + syn
 *   none:     v = beta * v + syn
 * then list the neurons with v > threshold; then syn = alpha * syn + bias. */
void l2mu_fire_synaptic_subtract_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_subtract_first_f32(const l2mu_neurons_f32_t *p, float *v,
                                           float *syn, uint16_t *spikes);
void l2mu_fire_synaptic_zero_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                 uint16_t *spikes);
void l2mu_fire_synaptic_clamp_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                  uint16_t *spikes);
void l2mu_fire_synaptic_none_f32(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                 uint16_t *spikes);
void l2mu_fire_synaptic_subtract_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                            uint16_t *spikes);
void l2mu_fire_synaptic_zero_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_clamp_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_none_f32_neon64(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_subtract_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                            uint16_t *spikes);
void l2mu_fire_synaptic_zero_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_clamp_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_none_f32_avx512(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_subtract_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                          uint16_t *spikes);
void l2mu_fire_synaptic_zero_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_clamp_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                       uint16_t *spikes);
void l2mu_fire_synaptic_none_f32_avx2(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_subtract_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_zero_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_clamp_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_none_f32_fpu(const l2mu_neurons_f32_t *p, float *v, float *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_subtract_first_i32(const l2mu_neurons_i32_t *p, int32_t *v,
                                           int32_t *syn, uint16_t *spikes);
void l2mu_fire_synaptic_zero_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                 uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                  uint16_t *spikes);
void l2mu_fire_synaptic_none_i32(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                 uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                          uint16_t *spikes);
void l2mu_fire_synaptic_zero_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                       uint16_t *spikes);
void l2mu_fire_synaptic_none_i32_neon(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_zero_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_none_i32_dsp(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_zero_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_none_i32_mve(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                          uint16_t *spikes);
void l2mu_fire_synaptic_zero_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                       uint16_t *spikes);
void l2mu_fire_synaptic_none_i32_avx2(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                            uint16_t *spikes);
void l2mu_fire_synaptic_zero_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_none_i32_avx512(const l2mu_neurons_i32_t *p, int32_t *v, int32_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_subtract_first_i16(const l2mu_neurons_i16_t *p, int16_t *v,
                                           int16_t *syn, uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                 uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                  uint16_t *spikes);
void l2mu_fire_synaptic_none_i16(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                 uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_none_i16_dsp(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                          uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                       uint16_t *spikes);
void l2mu_fire_synaptic_none_i16_avx2(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                            uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_none_i16_avx512(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                            uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_none_i16_neon32(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                    uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_none_i16_m0(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                    uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                            uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_none_i16_neon64(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                        uint16_t *spikes);
void l2mu_fire_synaptic_subtract_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                         uint16_t *spikes);
void l2mu_fire_synaptic_zero_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes);
void l2mu_fire_synaptic_clamp_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                      uint16_t *spikes);
void l2mu_fire_synaptic_none_i16_mve(const l2mu_neurons_i16_t *p, int16_t *v, int16_t *syn,
                                     uint16_t *spikes);

/* A leaky integrator, once all currents are in v: v = beta * v + bias. */
void l2mu_leak_f32(const l2mu_neurons_f32_t *p, float *v);
void l2mu_leak_i32(const l2mu_neurons_i32_t *p, int32_t *v);

/* Make membranes of accumulators, to read them before they decay. */
void l2mu_saturate_i32(const l2mu_neurons_i32_t *p, int32_t *v);

/* Add, for each spike in the list and in its order, the weights of its synapses to the targets' v.
 *   shared:   one block, [columns][rows], serves every `columns` sources and `rows` targets in turn
 *   distinct: blocks along the diagonal, [source][rows]
 *   conv:     kernels, [source channel][kernel row][kernel column][target channel of the group] */
void l2mu_accumulate_dense_f32(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes);
void l2mu_accumulate_conv_f32(const l2mu_slide_t *p, const float *weights, float *v,
                              const uint16_t *spikes);
void l2mu_accumulate_conv_i8_i32(const l2mu_slide_t *p, const int8_t *weights, int32_t *v,
                                 const uint16_t *spikes);
void l2mu_accumulate_conv_i8_i16(const l2mu_slide_t *p, const int8_t *weights, int16_t *v,
                                 const uint16_t *spikes);
void l2mu_accumulate_dense_f32_neon64(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes);
void l2mu_accumulate_dense_f32_avx512(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes);
void l2mu_accumulate_dense_f32_avx2(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes);
void l2mu_accumulate_dense_f32_fpu(const l2mu_dense_f32_t *p, float *v, const uint16_t *spikes);
void l2mu_accumulate_shared_f32_fpu(float *v, uint16_t rows, uint16_t columns, const float *weights,
                                    const uint16_t *spikes);
void l2mu_accumulate_distinct_f32_fpu(float *v, uint16_t rows, uint16_t columns, const float *weights,
                                      const uint16_t *spikes);
void l2mu_accumulate_shared_f32(float *v, uint16_t rows, uint16_t columns, const float *weights,
                                const uint16_t *spikes);
void l2mu_accumulate_distinct_f32(float *v, uint16_t rows, uint16_t columns, const float *weights,
                                  const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32_dsp(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32_mve(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32_m0(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32_neon32(const l2mu_dense_i8_t *p, int32_t *v,
                                         const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32_neon64(const l2mu_dense_i8_t *p, int32_t *v,
                                         const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32_avx2(const l2mu_dense_i8_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i32_avx512(const l2mu_dense_i8_t *p, int32_t *v,
                                         const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i32(int32_t *v, uint16_t rows, uint16_t columns, const int8_t *weights,
                               const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i32(int32_t *v, uint16_t rows, uint16_t columns,
                                 const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i32_m0(int32_t *v, uint16_t rows, uint16_t columns,
                                      const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i32_m0(int32_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i32_dsp(int32_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i32_dsp(int32_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i32_neon(int32_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i32_neon(int32_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i32_mve(int32_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i32_mve(int32_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i32_avx2(int32_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i32_avx2(int32_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i32_dsp(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i32_m0(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i32_neon(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i32_mve(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i32_avx2(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i16_dsp(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i16_m0(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i16_neon(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i16_mve(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i2_i16_avx2(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i32_dsp(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i32_m0(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i32_neon(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i32_mve(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i32_avx2(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i16_dsp(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i16_m0(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i16_neon(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i16_mve(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_s4_i16_avx2(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i32(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i32_dsp(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i32_m0(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i32_neon(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i32_mve(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i32_avx2(const l2mu_packed_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i16(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i16_dsp(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i16_m0(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i16_neon(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i16_mve(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i4_i16_avx2(const l2mu_packed_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16_dsp(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16_neon32(const l2mu_dense_i8_t *p, int16_t *v,
                                         const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16_neon64(const l2mu_dense_i8_t *p, int16_t *v,
                                         const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16_avx2(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16_avx512(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i16(int16_t *v, uint16_t rows, uint16_t columns, const int8_t *weights,
                               const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i16(int16_t *v, uint16_t rows, uint16_t columns,
                                 const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i16_dsp(int16_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i16_dsp(int16_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i16_neon(int16_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i16_neon(int16_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16_mve(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                       const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i16_mve(int16_t *v, uint16_t rows, uint16_t columns,
                                         const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_dense_i8_i16_m0(const l2mu_dense_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i16_m0(int16_t *v, uint16_t rows, uint16_t columns,
                                      const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i16_m0(int16_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_shared_i8_i16_avx2(int16_t *v, uint16_t rows, uint16_t columns,
                                        const int8_t *weights, const uint16_t *spikes);
void l2mu_accumulate_distinct_i8_i16_avx2(int16_t *v, uint16_t rows, uint16_t columns,
                                          const int8_t *weights, const uint16_t *spikes);

/* The same of sparse synapses, in tiles of as many targets as the name says. */
void l2mu_accumulate_sparse1_i8_i16(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_sparse4_i8_i16(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_sparse8_i8_i16(const l2mu_sparse_i8_t *p, int16_t *v, const uint16_t *spikes);
void l2mu_accumulate_sparse1_i8_i16_dsp(const l2mu_sparse_i8_t *p, int16_t *v,
                                        const uint16_t *spikes);
void l2mu_accumulate_sparse4_i8_i16_dsp(const l2mu_sparse_i8_t *p, int16_t *v,
                                        const uint16_t *spikes);
void l2mu_accumulate_sparse8_i8_i16_dsp(const l2mu_sparse_i8_t *p, int16_t *v,
                                        const uint16_t *spikes);
void l2mu_accumulate_sparse1_i8_i16_m0(const l2mu_sparse_i8_t *p, int16_t *v,
                                       const uint16_t *spikes);
void l2mu_accumulate_sparse4_i8_i16_m0(const l2mu_sparse_i8_t *p, int16_t *v,
                                       const uint16_t *spikes);
void l2mu_accumulate_sparse8_i8_i16_mve(const l2mu_sparse_i8_t *p, int16_t *v,
                                        const uint16_t *spikes);
void l2mu_accumulate_sparse8_i8_i16_neon(const l2mu_sparse_i8_t *p, int16_t *v,
                                         const uint16_t *spikes);
void l2mu_accumulate_sparse8_i8_i16_avx2(const l2mu_sparse_i8_t *p, int16_t *v,
                                         const uint16_t *spikes);
void l2mu_accumulate_sparse1_i8_i32(const l2mu_sparse_i8_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_sparse4_i8_i32(const l2mu_sparse_i8_t *p, int32_t *v, const uint16_t *spikes);
void l2mu_accumulate_sparse8_i8_i32(const l2mu_sparse_i8_t *p, int32_t *v, const uint16_t *spikes);

/* The same where many neurons spike: not a list is followed, but the weights of every source are multiplied
 * by its flag, 1 for a spike, else 0. Flags are filled up with zeros to a multiple of 16. */
void l2mu_multiply_dense_i8_i16_dotprod(const l2mu_dense_i8_t *p, int16_t *v, const uint8_t *flags);
void l2mu_multiply_dense_i8_i16_mve(const l2mu_dense_i8_t *p, int16_t *v, const uint8_t *flags);
void l2mu_multiply_dense_i8_i16_vnni(const l2mu_dense_i8_t *p, int16_t *v, const uint8_t *flags);

/* Make the flags of so many sources from a list of spikes. */
void l2mu_flag_spikes_dotprod(uint8_t *flags, uint16_t sources, const uint16_t *spikes);
void l2mu_flag_spikes_mve(uint8_t *flags, uint16_t sources, const uint16_t *spikes);
void l2mu_flag_spikes_vnni(uint8_t *flags, uint16_t sources, const uint16_t *spikes);

/* Add the currents of a sample. float: v += weight * sample, channel after channel.
 * int8: v += (sum of weight * sample + half) >> shift, half = 1 << (shift - 1), or 0 for shift 0. */
void l2mu_input_f32(const l2mu_input_f32_t *p, float *v, const float *sample);
/* Kernels are [target channel][source channel of the group][kernel row][kernel column]. */
void l2mu_input_conv_f32(const l2mu_slide_t *p, const float *weights, float *v, const float *sample);
void l2mu_input_conv_i8_i32(const l2mu_slide_t *p, const int8_t *weights, const int32_t *shift,
                            uint8_t shift_step, int32_t *v, const int16_t *sample);
void l2mu_input_conv_i8_i16(const l2mu_slide_t *p, const int8_t *weights, const int32_t *shift,
                            uint8_t shift_step, int16_t *v, const int16_t *sample);
void l2mu_input_f32_neon64(const l2mu_input_f32_t *p, float *v, const float *sample);
void l2mu_input_f32_avx512(const l2mu_input_f32_t *p, float *v, const float *sample);
void l2mu_input_f32_fpu(const l2mu_input_f32_t *p, float *v, const float *sample);
void l2mu_input_i8_i32(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample);
void l2mu_input_i8_i16(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample);
void l2mu_input_i8_i16_dsp(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample);
void l2mu_input_i8_i16_neon(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample);
void l2mu_input_i8_i32_neon(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample);
void l2mu_input_i8_i16_m0(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample);
void l2mu_input_i8_i32_m0(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample);
void l2mu_input_i8_i16_mve(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample);
void l2mu_input_i8_i32_mve(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample);
void l2mu_input_i8_i16_avx2(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample);
void l2mu_input_i8_i32_avx2(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample);
void l2mu_input_i8_i16_avx512(const l2mu_input_i8_t *p, int16_t *v, const int16_t *sample);
void l2mu_input_i8_i32_avx512(const l2mu_input_i8_t *p, int32_t *v, const int16_t *sample);

/* quantized = floor(sample * 2^fraction + 1/2), clipped to int16; NaN becomes 0. */
void l2mu_quantize_sample(int16_t *quantized, uint16_t channels, const float *sample,
                          int32_t fraction);

/* List the channels of a sample that are above 1/2: spikes. */
void l2mu_list_samples(uint16_t *spikes, uint16_t channels, const float *sample);
void l2mu_list_counts(uint16_t *spikes, uint16_t channels, const int16_t *counts);

/* A sample of raw counts. convert: the same numbers as float. quantize: what quantize_sample makes of
 * them, without floats; its scale is here `scale` (a power of two up to 2^16) over 2^shift, and one of
 * the two is 1. */
void l2mu_convert_counts(float *sample, uint16_t channels, const int16_t *counts);
void l2mu_quantize_counts(int16_t *quantized, uint16_t channels, const int16_t *counts,
                          int32_t scale, uint16_t shift);

/* Scores of a window, updated after every step. */
void l2mu_count_spikes(int32_t *score, const uint16_t *spikes);
void l2mu_maximum_f32(float *score, uint16_t classes, const float *v);
void l2mu_maximum_i32(int32_t *score, uint16_t classes, const int32_t *v);
void l2mu_sum_f32(float *score, uint16_t classes, const float *v);
void l2mu_sum_i64(int64_t *score, uint16_t classes, const int32_t *v);
void l2mu_copy_f32(float *score, uint16_t classes, const float *v);
void l2mu_copy_i32(int32_t *score, uint16_t classes, const int32_t *v);
void l2mu_fill_f32(float *score, uint16_t classes, float value);
void l2mu_fill_i32(int32_t *score, uint16_t classes, int32_t value);

/* The class whose score is ahead of every other by its margin, at least; -1 if there is none, or one
 * class alone. Scores are not negative. The other function counts spikes as long as there is none. */
int l2mu_decided_i32(const int32_t *score, uint16_t classes, const int32_t *margin);
void l2mu_count_undecided_i32(int32_t *score, uint16_t classes, const int32_t *margin,
                              const uint16_t *spikes);

/* Index of the largest score, the lowest index among equals. */
int l2mu_argmax_f32(const float *score, uint16_t classes);
int l2mu_argmax_i32(const int32_t *score, uint16_t classes);
int l2mu_argmax_i64(const int64_t *score, uint16_t classes);

/* A member of a state that is kept when it is saved: `count` elements of `bytes` bytes (2, 4 or 8), and
 * what they can be. */
typedef enum {
    L2MU_FLOATS,  /* anything */
    L2MU_INTEGERS /* signed, from low to high */
} l2mu_kind_t;

typedef struct {
    uint32_t offset;
    uint32_t count;
    uint8_t bytes;
    uint8_t kind;
    int64_t low;
    int64_t high;
} l2mu_member_t;

typedef struct {
    const l2mu_member_t *member;
    size_t members;
    const char *digest; /* of the network, at least 16 characters */
    size_t state_bytes;
} l2mu_layout_t;

/* Why a state is not restored. */
enum {
    L2MU_WRONG_SIZE = 1,
    L2MU_NOT_SAVED,
    L2MU_OTHER_NETWORK,
    L2MU_DAMAGED,
    L2MU_IMPOSSIBLE
};

/* Save a state: 24 bytes that say what it is, the members' elements, little-endian, and a CRC-32.
 * Restore one: 0, or the reason why not, which leaves the state as it was. What is no member becomes
 * zero. Whatever the bytes are, a restored state is one that kernels can work on: no sum of integers
 * overflows. */
void l2mu_save_state(const l2mu_layout_t *layout, const void *state, uint8_t *bytes);
int l2mu_restore_state(const l2mu_layout_t *layout, void *state, const uint8_t *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
