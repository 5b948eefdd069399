/* Calls the API of a model `net` as the bytes of an input say: any samples, in any order, on several states
 * and streams, with saved states that were tampered with. Build it with libFuzzer, ASan and UBSan, and with
 * spikes_checked.h included first. Says at its end how often it did what. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#include "checksum.h"

enum { STATES = 3, STREAMS = 2, MOST_STEPS = 5, MOST_REPEATS = 16, LARGEST_SURE_SCORE = 1 << 29 };

#ifdef NET_WINDOW
enum { LANES = NET_LANES };
#else
enum { LANES = 0 };
typedef int net_stream_t;
#endif

typedef struct {
    const uint8_t *at, *end;
} input_t;

typedef struct {
    net_state_t *state[STATES];
    net_stream_t *stream[STREAMS];
} instances_t;

static struct {
    unsigned long calls, steps, windows, restored, refused;
} done;

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "api_fuzz: %s\n", what);
        abort();
    }
}

/* Of exactly this size, so that the sanitizer sees the first byte beyond; zero, as what is static. */
static void *memory_of(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    require(memory != NULL, "no memory");
    return memory;
}

/* ---- what an input says ---- */

static uint8_t drawn(input_t *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static uint32_t word(input_t *in, int bytes)
{
    uint32_t value = 0;
    while (bytes-- > 0) {
        value = value << 8 | drawn(in);
    }
    return value;
}

static float number(input_t *in, unsigned kind)
{
    static const float special[] = {0.0f,    -0.0f,    NAN,      INFINITY,    -INFINITY, FLT_MAX,
                                    FLT_MIN, -FLT_MAX, 1e-45f,   0.5f,        1.0f,      0.50000006f,
                                    -1.0f,   32767.5f, -32768.5f, 2147483648.0f};
    const uint32_t bits = kind == 0 ? word(in, 4) : 0;
    float value;
    memcpy(&value, &bits, sizeof value);
    return kind == 0 ? value : kind == 1 ? special[drawn(in) % 16] : (float)(int8_t)drawn(in) / 16.0f;
}

static int16_t count(input_t *in, unsigned kind)
{
    static const int16_t special[] = {0, 1, -1, INT16_MAX, INT16_MIN, 255, -256, 4096};
    return kind == 0 ? (int16_t)word(in, 2) : kind == 1 ? special[drawn(in) % 8] : (int8_t)drawn(in);
}

static float *samples(input_t *in, size_t steps)
{
    float *const made = memory_of(steps * NET_INPUTS * sizeof *made);
    const unsigned kind = steps > 0 ? drawn(in) % 4 : 0;
    for (size_t i = 0; i < steps * NET_INPUTS; ++i) {
        made[i] = number(in, kind);
    }
    return made;
}

static int16_t *counts(input_t *in, size_t steps)
{
    int16_t *const made = memory_of(steps * NET_INPUTS * sizeof *made);
    const unsigned kind = steps > 0 ? drawn(in) % 4 : 0;
    for (size_t i = 0; i < steps * NET_INPUTS; ++i) {
        made[i] = count(in, kind);
    }
    return made;
}

/* A state of its own, or a lane of a stream. */
static net_state_t *some_state(input_t *in, const instances_t *all)
{
    const unsigned which = drawn(in) % (STATES + STREAMS * LANES);
#ifdef NET_WINDOW
    if (which >= STATES) {
        return &all->stream[(which - STATES) / LANES]->lane[(which - STATES) % LANES];
    }
#endif
    return all->state[which];
}

/* ---- what must hold ---- */

static void check_state(const net_state_t *state)
{
    const int decision = net_classify(state);
    require(decision >= 0 && decision < NET_CLASSES, "a decision for no class");
    require(net_class_name(decision) != NULL, "a class without a name");
    require(net_scores(state) == state->score, "scores are elsewhere");
#ifdef NET_DECIDES
    const int decided = net_decided(state);
    require(decided == -1 || decided == decision, "decided for another class");
#endif
}

/* A score that was restored near its limit may go beyond it, and is refused then. */
static int has_sure_scores(const net_state_t *state)
{
    int sure = 1;
    for (int i = 0; i < NET_CLASSES; ++i) {
        sure &= !(state->score[i] > LARGEST_SURE_SCORE || state->score[i] < -LARGEST_SURE_SCORE);
    }
    return sure;
}

/* Restores, and saves the same again; or refuses, and has touched nothing. */
static int restore(net_state_t *state, const uint8_t *bytes, size_t size)
{
    uint8_t *const again = memory_of(NET_SAVE_BYTES);
    net_state_t *const before = memory_of(sizeof *before);
    memcpy(before, state, sizeof *before);
    const int refusal = net_restore(state, bytes, size);
    require(refusal >= 0 && refusal <= 5, "a refusal without a meaning");
    if (refusal == 0) {
        net_save(state, again);
        require(memcmp(again, bytes, NET_SAVE_BYTES) == 0, "another state than was saved");
    } else {
        require(memcmp(before, state, sizeof *before) == 0, "a refused state was changed");
    }
    *(refusal == 0 ? &done.restored : &done.refused) += 1;
    free(before);
    free(again);
    return refusal;
}

/* A state that was saved and restored does what the first does. */
static void check_copy(input_t *in, net_state_t *state)
{
    uint8_t *const bytes = memory_of(NET_SAVE_BYTES), *const others = memory_of(NET_SAVE_BYTES);
    net_state_t *const other = memory_of(sizeof *other);
    float *const sample = samples(in, 1);
    net_save(state, bytes);
    const int refusal = restore(other, bytes, NET_SAVE_BYTES);
    require(refusal == 0 || (refusal == 5 && !has_sure_scores(state)), "a saved state is refused");
    if (refusal == 0) {
        net_step(state, sample);
        net_step(other, sample);
        net_save(state, bytes);
        net_save(other, others);
        require(memcmp(bytes, others, NET_SAVE_BYTES) == 0, "a restored state goes another way");
    }
    free(sample);
    free(other);
    free(others);
    free(bytes);
}

/* ---- calls ---- */

static void tamper(input_t *in, uint8_t *bytes)
{
    static const uint32_t ends[] = {INT32_MAX, 0x80000000U, 0xFFFFFFFFU, 0x07FFFFFFU,
                                    0x7FC00000U, 0x7F800000U, 0xFF800000U, 0x7FFF8000U};
    for (unsigned changes = drawn(in) % 4 + 1; changes > 0; --changes) {
        const uint8_t way = drawn(in);
        const size_t any = word(in, 2) % (NET_SAVE_BYTES - 4), at = way & 8 ? any - any % 4 : any;
        const uint32_t value = way & 1 ? ends[drawn(in) % 8] : drawn(in);
        memcpy(&bytes[at], &value, way & 6 ? 1 + way % 4 : 4);
    }
    if (drawn(in) % 8 > 0) {
        make_checksum_fit(bytes);
    }
}

static void restore_tampered(input_t *in, const net_state_t *from, net_state_t *to)
{
    uint8_t *const bytes = memory_of(NET_SAVE_BYTES);
    net_save(from, bytes);
    tamper(in, bytes);
    (void)restore(to, bytes, NET_SAVE_BYTES);
    free(bytes);
}

/* So many bytes of what was saved, and of the input. */
static void restore_anything(input_t *in, const net_state_t *from, net_state_t *to)
{
    uint8_t *const whole = memory_of(NET_SAVE_BYTES);
    const size_t size = word(in, 2) % (2 * NET_SAVE_BYTES), kept = word(in, 2) % (NET_SAVE_BYTES + 1);
    uint8_t *const bytes = memory_of(size);
    net_save(from, whole);
    for (size_t i = 0; i < size; ++i) {
        bytes[i] = i < kept ? whole[i] : drawn(in);
    }
    (void)restore(to, size > 0 ? bytes : NULL, size);
    free(bytes);
    free(whole);
}

static void step(input_t *in, net_state_t *state, unsigned times, int raw)
{
    float *const sample = raw ? NULL : samples(in, 1);
    int16_t *const counted = raw ? counts(in, 1) : NULL;
    for (unsigned i = 0; i < times; ++i) {
        raw ? net_step_raw(state, counted) : net_step(state, sample);
    }
    done.steps += times;
    free(counted);
    free(sample);
}

static void run(input_t *in, net_state_t *state, int raw)
{
    const size_t steps = drawn(in) % (MOST_STEPS + 1);
    float *const window = raw ? NULL : samples(in, steps);
    int16_t *const counted = raw ? counts(in, steps) : NULL;
    const int decision = raw ? net_run_raw(state, counted, steps) : net_run(state, window, steps);
    require(decision == net_classify(state), "a window is decided otherwise");
    done.steps += steps;
    free(counted);
    free(window);
}

#ifdef NET_WINDOW
static void check_stream(const net_stream_t *stream)
{
    const int decision = net_decision(stream);
    require(decision >= -1 && decision < NET_CLASSES, "a stream's decision for no class");
    require(net_stream_scores(stream) == stream->score, "a stream's scores are elsewhere");
}

static void push(input_t *in, net_stream_t *stream, int raw)
{
    const unsigned times = drawn(in) % MOST_REPEATS + 1;
    float *const sample = raw ? NULL : samples(in, 1);
    int16_t *const counted = raw ? counts(in, 1) : NULL;
    for (unsigned i = 0; i < times; ++i) {
        const int ended = raw ? net_push_raw(stream, counted) : net_push(stream, sample);
        require(ended == 0 || (ended == 1 && net_decision(stream) >= 0), "a window without a decision");
        done.windows += (unsigned)ended;
    }
    done.steps += times;
    free(counted);
    free(sample);
}
#endif

static void call_stream(input_t *in, const instances_t *all, unsigned what)
{
#ifdef NET_WINDOW
    net_stream_t *const stream = all->stream[drawn(in) % STREAMS];
    switch (what) {
    case 0:
        net_stream_init(stream);
        break;
    case 1:
        net_stream_reset(stream);
        break;
    default:
        push(in, stream, what == 2);
        break;
    }
    check_stream(stream);
#else
    (void)in;
    (void)all;
    (void)what;
#endif
}

static void ask_for_text(input_t *in)
{
    const int label = (int)(int8_t)drawn(in) * (drawn(in) % 2 ? 1 : 1 << 24);
    const char *const name = net_class_name(label);
    require((name != NULL) == (label >= 0 && label < NET_CLASSES), "a name of no class");
    require(strlen(net_digest()) == 64 && strlen(net_version()) > 0, "no version");
}

static void call(input_t *in, const instances_t *all)
{
    const unsigned what = drawn(in) % 16;
    net_state_t *const state = some_state(in, all);
    done.calls += 1;
    switch (what) {
    case 0:
        net_init(state);
        break;
    case 1:
        net_reset(state);
        break;
    case 2:
    case 3:
        step(in, state, 1, what == 3);
        break;
    case 4:
    case 5:
        step(in, state, drawn(in) % MOST_REPEATS, what == 5);
        break;
    case 6:
    case 7:
        run(in, state, what == 7);
        break;
    case 8:
        check_copy(in, state);
        break;
    case 9:
        restore_anything(in, some_state(in, all), state);
        break;
    case 10:
        ask_for_text(in);
        break;
    case 11:
        restore_tampered(in, some_state(in, all), state);
        break;
    default:
        call_stream(in, all, what % 4);
        break;
    }
    check_state(state);
}

static void say(void)
{
    printf("calls=%lu steps=%lu windows=%lu restored=%lu refused=%lu\n", done.calls, done.steps, done.windows,
           done.restored, done.refused);
}

int LLVMFuzzerInitialize(int *words, char ***word)
{
    (void)words;
    (void)word;
    return atexit(say);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    input_t in = {bytes, bytes + size};
    instances_t all;
    for (int i = 0; i < STATES; ++i) {
        all.state[i] = memory_of(sizeof *all.state[i]);
    }
    for (int i = 0; i < STREAMS; ++i) {
        all.stream[i] = memory_of(sizeof *all.stream[i]);
    }
    while (in.at < in.end) {
        call(&in, &all);
    }
    for (int i = 0; i < STREAMS; ++i) {
        free(all.stream[i]);
    }
    for (int i = 0; i < STATES; ++i) {
        free(all.state[i]);
    }
    return 0;
}
