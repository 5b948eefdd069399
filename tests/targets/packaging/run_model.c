/* Loads a model's shared library and runs windows through its C functions.
 *
 *     run_model LIBRARY MODEL INPUTS STEPS STATE_BYTES < windows > results
 *
 * Windows are floats [windows][steps][inputs]. Results are, for each window, the state's bytes after
 * every step, then the decision as int32.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;

static void *function(const char *model, const char *name)
{
    char symbol[128];
    snprintf(symbol, sizeof symbol, "%s_%s", model, name);
    void *found = dlsym(library, symbol);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    return found;
}

int main(int count, char **arguments)
{
    if (count != 6) {
        return 2;
    }
    library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    const char *model = arguments[2];
    size_t inputs = (size_t)atoi(arguments[3]), steps = (size_t)atoi(arguments[4]);
    size_t state_bytes = (size_t)atoi(arguments[5]);
    void (*reset)(void *);
    void (*step)(void *, const float *);
    int (*classify)(const void *);
    *(void **)&reset = function(model, "reset");
    *(void **)&step = function(model, "step");
    *(void **)&classify = function(model, "classify");

    float *window = malloc(steps * inputs * sizeof *window);
    void *state = malloc(state_bytes);
    memset(state, 0xA5, state_bytes);
    while (fread(window, sizeof *window, steps * inputs, stdin) == steps * inputs) {
        reset(state);
        for (size_t i = 0; i < steps; ++i) {
            step(state, window + i * inputs);
            fwrite(state, 1, state_bytes, stdout);
        }
        int32_t decision = classify(state);
        fwrite(&decision, sizeof decision, 1, stdout);
    }
    return 0;
}
