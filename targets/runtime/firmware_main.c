/* Firmware for a host that answers semihosting requests, such as an emulator or a debugger:
 *
 *     NAME                                  classify the window compiled in
 *     NAME WINDOWS STEPS [STATES [TICKS]]   classify every window in the file WINDOWS
 *
 * WINDOWS holds float32 [n, STEPS, inputs], little-endian. One decision is printed a line. STATES
 * receives the state struct after every step, TICKS uint32 numbers: the processor clocks that
 * calling an empty function takes, then those of every step (0 if too many for SysTick). No name
 * may hold a space. The exit status is 0, or 1 for a command line or a file that is not like this.
 */
#include <stddef.h>
#include <stdint.h>

#include "l2mu_model.h"
#include "semihosting.h"
#include "systick.h"

#define LINE_BYTES 256
#define MAX_WORDS 6

#define NO_FILE (-1)

typedef void (*step_t)(l2mu_model_state_t *state, const float *sample);

typedef struct {
    int windows;
    int states;
    int ticks;
} files_t;

static l2mu_model_state_t state;
static float sample[L2MU_MODEL_INPUTS];
static char line[LINE_BYTES];

static int fail(const char *what, const char *which) {
    semihosting_print(L2MU_MODEL_NAME ": ");
    semihosting_print(what);
    semihosting_print(which);
    semihosting_print("\n");
    return 1;
}

static void print_class(void) {
    semihosting_print_number((unsigned)l2mu_model_classify(&state));
    semihosting_print("\n");
}

static int run_compiled_in(void) {
    l2mu_model_init(&state);
    for (size_t step = 0; step < L2MU_MODEL_WINDOW_STEPS; step++) {
        l2mu_model_step(&state, l2mu_model_window[step]);
    }
    print_class();
    return 0;
}

/* One instruction. */
__attribute__((naked, noinline)) static void nothing_done(
        __attribute__((unused)) l2mu_model_state_t *unused,
        __attribute__((unused)) const float *unread) {
    __asm volatile("bx lr");
}

__attribute__((noinline)) static uint32_t timed(step_t step) {
    uint32_t before;
    uint32_t after;
    __asm volatile("" : "+r"(step)); /* no version of this for a step that is known */
    systick_start();
    before = systick_now();
    step(&state, sample);
    after = systick_now();
    return systick_passed(before, after);
}

/* Whether the bytes went to the file, if there is one. */
static int put(int file, const void *from, size_t size) {
    return file < 0 || semihosting_write(file, from, size) == size;
}

static int advance(files_t files) {
    uint32_t spent = 0;
    if (files.ticks < 0) {
        l2mu_model_step(&state, sample);
    } else {
        spent = timed(l2mu_model_step);
    }
    return put(files.states, &state, sizeof state) && put(files.ticks, &spent, sizeof spent);
}

static int classify_windows(size_t count, size_t steps, files_t files) {
    if (files.ticks >= 0) {
        const uint32_t spent = timed(nothing_done);
        (void)put(files.ticks, &spent, sizeof spent);
    }
    for (size_t window = 0; window < count; window++) {
        l2mu_model_reset(&state);
        for (size_t step = 0; step < steps; step++) {
            if (semihosting_read(files.windows, sample, sizeof sample) != sizeof sample) {
                return fail("the windows could not be read", "");
            }
            if (!advance(files)) {
                return fail("the results could not be written", "");
            }
        }
        print_class();
    }
    return 0;
}

/* A whole number from 1 to 999999999, or 0. */
static size_t number(const char *text) {
    size_t value = 0;
    for (size_t digits = 0; text[digits] != '\0'; digits++) {
        if (text[digits] < '0' || text[digits] > '9' || digits == 9u) {
            return 0;
        }
        value = 10u * value + (size_t)(text[digits] - '0');
    }
    return value;
}

/* How many windows a file holds; 0 if they are not whole. */
static size_t windows_in(int file, size_t window_bytes) {
    size_t count = 0;
    long rest = file < 0 ? 0 : semihosting_size(file);
    for (; rest > 0; rest -= (long)window_bytes) {
        count++;
    }
    return rest == 0 ? count : 0u;
}

static int classify_file(char **words, size_t count) {
    const size_t steps = count > 2u ? number(words[2]) : 0u;
    const size_t window_bytes = steps * sizeof sample;
    size_t windows;
    files_t files = {NO_FILE, NO_FILE, NO_FILE};
    if (count > 5u || steps == 0u || steps > INT32_MAX / sizeof sample) {
        return fail("usage: WINDOWS STEPS [STATES [TICKS]]", "");
    }
    files.windows = semihosting_open(words[1], SEMIHOSTING_READ);
    windows = windows_in(files.windows, window_bytes);
    if (windows == 0u) {
        return fail("no file of whole windows: ", words[1]);
    }
    files.states = count > 3u ? semihosting_open(words[3], SEMIHOSTING_WRITE) : NO_FILE;
    files.ticks = count > 4u ? semihosting_open(words[4], SEMIHOSTING_WRITE) : NO_FILE;
    if ((count > 3u && files.states < 0) || (count > 4u && files.ticks < 0)) {
        return fail("cannot write ", words[files.states < 0 ? 3 : 4]);
    }
    return classify_windows(windows, steps, files);
}

/* The words of `line`, which is cut into them; those beyond MAX_WORDS are not looked at. */
static size_t split(char **words) {
    size_t count = 0;
    for (char *at = line; *at != '\0' && count < MAX_WORDS;) {
        while (*at == ' ') {
            *at++ = '\0';
        }
        if (*at != '\0') {
            words[count++] = at;
        }
        while (*at != '\0' && *at != ' ') {
            at++;
        }
    }
    return count;
}

int main(void) {
    char *words[MAX_WORDS];
    const size_t count = semihosting_command_line(line, sizeof line) ? split(words) : 0u;
    return count > 1u ? classify_file(words, count) : run_compiled_in();
}
