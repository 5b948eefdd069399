/* Classify windows of samples from a file or standard input; see HELP. */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l2mu_model.h"
#include "sample_reader.h"

#define EXIT_NOT_WRITTEN 1
#define MAX_STEPS 1000000000

#define HELP                                                                                       \
    "usage: %s [--scores] [--steps N] [--states FILE] [FILE]\n"                                    \
    "\n"                                                                                           \
    "Prints the class of every window in FILE, or in standard input, one a line.\n"                \
    "\n"                                                                                           \
    "FILE is a .npy file, float32, float64, int16 or int32, [steps, %d] or\n"                      \
    "[windows, steps, %d]; or text: one sample a line, its %d numbers separated by\n"              \
    "commas or blanks, an empty line between windows.\n"                                           \
    "\n"                                                                                           \
    "  --scores       print what each of the %d classes scored as well\n"                          \
    "  --steps N      a window is N samples\n"                                                     \
    "  --states FILE  write the model's state after every step to FILE\n"                          \
    "  --help         print this\n"                                                                \
    "\n"                                                                                           \
    "Exit status: 0, 1 if results could not be written, 2 for anything wrong with\n"               \
    "the input or the command line.\n"

typedef struct {
    const char *input;
    const char *states;
    uint64_t steps;
    int scores;
} options_t;

static l2mu_model_state_t state;

__attribute__((noreturn)) static void fail(int status, const char *what, const char *which) {
    (void)fprintf(stderr, "%s: %s%s\n", L2MU_MODEL_NAME, what, which);
    exit(status);
}

static void put(FILE *file, const char *name, const void *from, size_t size) {
    if (fwrite(from, 1, size, file) != size) {
        fail(EXIT_NOT_WRITTEN, "cannot write ", name);
    }
}

static void print_result(const options_t *options) {
    (void)printf("%d", l2mu_model_classify(&state));
    for (int i = 0; options->scores && i < L2MU_MODEL_CLASSES; i++) {
        (void)printf(" " L2MU_MODEL_SCORE_FORMAT, l2mu_model_scores(&state)[i]);
    }
    (void)putchar('\n');
}

/* Whether a window ends here: where the input says so, or after so many steps. */
static int ends(const sample_reader_t *reader, const options_t *options, got_t got, uint64_t step) {
    if (got == GOT_SAMPLE) {
        return step == options->steps;
    }
    if (step > 0u && options->steps > 0u) {
        sample_reader_refuse(reader, "a window ends after %" PRIu64 " of %" PRIu64 " steps", step,
                             options->steps);
    }
    return step > 0u;
}

static void run(sample_reader_t *reader, FILE *states, const options_t *options) {
    float sample[L2MU_MODEL_INPUTS];
    uint64_t step = 0;
    uint64_t windows = 0;
    got_t got;
    l2mu_model_init(&state);
    do {
        got = sample_reader_next(reader, sample);
        if (got == GOT_SAMPLE) {
            l2mu_model_step(&state, sample);
            step++;
            if (states != NULL) {
                put(states, options->states, &state, sizeof state);
            }
        }
        if (ends(reader, options, got, step)) {
            print_result(options);
            l2mu_model_reset(&state);
            step = 0;
            windows++;
        }
    } while (got != GOT_END);
    if (windows == 0u) {
        sample_reader_refuse(reader, "holds no sample");
    }
}

static uint64_t parse_steps(const char *text) {
    char *end;
    const long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value < 1 || value > MAX_STEPS) {
        fail(EXIT_REFUSED, "--steps takes a whole number from 1 on, not ", text);
    }
    return (uint64_t)value;
}

static void parse_options(int count, char **words, options_t *options) {
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        const int has_value = i + 1 < count;
        if (strcmp(word, "--help") == 0) {
            (void)printf(HELP, L2MU_MODEL_NAME, L2MU_MODEL_INPUTS, L2MU_MODEL_INPUTS,
                         L2MU_MODEL_INPUTS, L2MU_MODEL_CLASSES);
            exit(EXIT_SUCCESS);
        } else if (strcmp(word, "--scores") == 0) {
            options->scores = 1;
        } else if (strcmp(word, "--steps") == 0 && has_value) {
            options->steps = parse_steps(words[++i]);
        } else if (strcmp(word, "--states") == 0 && has_value) {
            options->states = words[++i];
        } else if (word[0] == '-' && word[1] != '\0') {
            fail(EXIT_REFUSED, "see --help; this does not go: ", word);
        } else if (options->input != NULL) {
            fail(EXIT_REFUSED, "one file at a time; one too many: ", word);
        } else {
            options->input = word;
        }
    }
}

static FILE *open_file(const char *name, const char *mode, int status) {
    FILE *file = fopen(name, mode);
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s: %s\n", L2MU_MODEL_NAME, name, strerror(errno));
        exit(status);
    }
    return file;
}

static void finish(FILE *file, const char *name) {
    if (ferror(file) || fflush(file) != 0) {
        fail(EXIT_NOT_WRITTEN, "cannot write ", name);
    }
}

int main(int count, char **words) {
    options_t options = {NULL, NULL, 0, 0};
    FILE *input = stdin;
    FILE *states = NULL;
    sample_reader_t reader;
    parse_options(count, words, &options);
    const int from_file = options.input != NULL && strcmp(options.input, "-") != 0;
    if (from_file) {
        input = open_file(options.input, "rb", EXIT_REFUSED);
    }
    sample_reader_open(&reader, input, from_file ? options.input : "standard input");
    if (options.states != NULL) {
        states = open_file(options.states, "wb", EXIT_NOT_WRITTEN);
    }
    run(&reader, states, &options);
    finish(stdout, "standard output");
    if (states != NULL) {
        finish(states, options.states);
    }
    return EXIT_SUCCESS;
}
