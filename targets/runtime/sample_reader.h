/* Windows of samples from a NumPy file or from text, one sample at a time.
 *
 * NumPy: version 1 to 3, float32, float64, int16 or int32, little-endian, in C order,
 * [steps, inputs] or [windows, steps, inputs]. Text: one sample a line, its numbers separated by
 * commas or blanks, an empty line between windows. What is neither ends the program: a line on
 * standard error names it, and the exit status is 2.
 */
#ifndef L2MU_SAMPLE_READER_H
#define L2MU_SAMPLE_READER_H

#include <stdint.h>
#include <stdio.h>

#define EXIT_REFUSED 2

typedef enum { GOT_SAMPLE, GOT_WINDOW_END, GOT_END } got_t;

typedef struct {
    FILE *file;
    const char *name;
    uint64_t line;    /* of text, counted from 1; 0 in a NumPy file */
    uint64_t windows; /* of a NumPy file, still to come */
    uint64_t steps;   /* of each */
    uint64_t step;    /* of the present window */
    uint64_t samples; /* of text, since the last window's end */
    char type;        /* of a NumPy file: f or i, and the size of an element */
    unsigned bytes;
} sample_reader_t;

/* Look at what the file begins with. `name` is for messages. */
void sample_reader_open(sample_reader_t *reader, FILE *file, const char *name);

/* The next sample, float[L2MU_MODEL_INPUTS], or where the input is. */
got_t sample_reader_next(sample_reader_t *reader, float *sample);

/* End the program, saying what is wrong with the input. */
__attribute__((noreturn, format(printf, 2, 3))) void sample_reader_refuse(
        const sample_reader_t *reader, const char *format, ...);

#endif
