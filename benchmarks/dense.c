/* A network of LIF neurons in plain C without events, to compare with. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Synapses where there are weights, [columns][rows] for every block or for all; else neurons. */
typedef struct {
    const float *weights;
    const float *source;
    float *v;
    float *spikes;
    size_t blocks;
    size_t columns;
    size_t rows;
    float beta;
    float threshold;
} op_t;

static void multiply(const op_t *op)
{
    for (size_t block = 0; block < op->blocks; ++block) {
        float *restrict const v = &op->v[block * op->rows];
        for (size_t column = 0; column < op->columns; ++column) {
            const float spike = op->source[(block * op->columns) + column];
            const float *const weights = &op->weights[column * op->rows];
            for (size_t row = 0; row < op->rows; ++row) {
                v[row] += weights[row] * spike;
            }
        }
    }
}

static void fire(const op_t *op)
{
    for (size_t j = 0; j < op->rows; ++j) {
        const float spike = (op->v[j] > op->threshold) ? 1.0f : 0.0f;
        op->spikes[j] = spike;
        op->v[j] = (op->beta * op->v[j]) - (op->threshold * spike);
    }
}

void run(const op_t *ops, size_t count, size_t inputs, size_t classes, float *sample,
         const float *output, int64_t *counts, const float *samples, size_t steps)
{
    for (size_t step = 0; step < steps; ++step) {
        (void)memcpy(sample, &samples[step * inputs], inputs * sizeof *sample);
        for (size_t i = 0; i < count; ++i) {
            if (ops[i].weights != NULL) {
                multiply(&ops[i]);
            } else {
                fire(&ops[i]);
            }
        }
        for (size_t j = 0; j < classes; ++j) {
            counts[j] += (int64_t)output[j];
        }
    }
}
