/* Loads a model's shared library and runs windows through the native methods of its Java class, in
 * an environment of the few JNI functions they call. There is no JVM for emulated processors; this
 * shows that the methods call at the right places of the table, with the processor's conventions.
 *
 *     run_native_methods LIBRARY PREFIX INPUTS CLASSES STEPS SCORE_BYTES DIGEST SAVE_BYTES LAST_CLASS
 *         < windows > results
 *
 * DIGEST is the network's. Windows are floats [windows][steps][inputs] of whole numbers, as long as a
 * window of the model's stream, in which they do not overlap. Results are, for each window, decision
 * (int32) and scores: of the samples as floats, as int16 counts, saved and restored after the first
 * step, pushed as floats and pushed as counts.
 */
#include <dlfcn.h>
#include <jni.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a reference to an array or a buffer points at. */
typedef struct {
    char *data;
    jlong length;
    size_t element;
} object_t;

static void *library;
static const char *prefix;
static int pending;

static void *method(const char *name)
{
    char symbol[256];
    snprintf(symbol, sizeof symbol, "%s%s", prefix, name);
    void *found = dlsym(library, symbol);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    return found;
}

static void copy(void *array, jint start, jint count, void *to, const void *from)
{
    object_t *object = array;
    if (start < 0 || count < 0 || start + count > object->length) {
        pending = 1;
        return;
    }
    char *place = object->data + (size_t)start * object->element;
    memcpy(to ? to : place, to ? place : from, (size_t)count * object->element);
}

static jclass JNICALL find_class(JNIEnv *env, const char *name)
{
    (void)env;
    return strcmp(name, "java/lang/IllegalStateException") == 0 ? (jclass)&pending : NULL;
}

/* The one array that native code makes. */
static object_t made;
static char made_bytes[256];

static jbyteArray JNICALL new_bytes(JNIEnv *env, jsize length)
{
    (void)env;
    made = (object_t){made_bytes, length, 1};
    return length < (jsize)sizeof made_bytes ? (jbyteArray)&made : NULL;
}

static void JNICALL set_bytes(JNIEnv *env, jbyteArray array, jsize start, jsize count, const jbyte *from)
{
    (void)env;
    copy(array, start, count, NULL, from);
}

static int says(jbyteArray array, const char *text)
{
    const object_t *object = (void *)array;
    return object != NULL && (size_t)object->length == strlen(text) &&
           memcmp(object->data, text, strlen(text)) == 0;
}

static jint JNICALL throw_new(JNIEnv *env, jclass kind, const char *message)
{
    (void)env;
    (void)message;
    pending = kind == (jclass)&pending ? 2 : 3;
    return 0;
}

static jboolean JNICALL exception_check(JNIEnv *env)
{
    (void)env;
    return pending != 0;
}

static void JNICALL get_shorts(JNIEnv *env, jshortArray array, jsize start, jsize count, jshort *to)
{
    (void)env;
    copy(array, start, count, to, NULL);
}

static void JNICALL get_floats(JNIEnv *env, jfloatArray array, jsize start, jsize count, jfloat *to)
{
    (void)env;
    copy(array, start, count, to, NULL);
}

static void JNICALL set_ints(JNIEnv *env, jintArray array, jsize start, jsize count, const jint *from)
{
    (void)env;
    copy(array, start, count, NULL, from);
}

static void JNICALL set_longs(JNIEnv *env, jlongArray array, jsize start, jsize count, const jlong *from)
{
    (void)env;
    copy(array, start, count, NULL, from);
}

static void JNICALL set_floats(JNIEnv *env, jfloatArray array, jsize start, jsize count, const jfloat *from)
{
    (void)env;
    copy(array, start, count, NULL, from);
}

static void *JNICALL buffer_address(JNIEnv *env, jobject buffer)
{
    (void)env;
    return ((object_t *)buffer)->data;
}

static jlong JNICALL buffer_capacity(JNIEnv *env, jobject buffer)
{
    (void)env;
    return ((object_t *)buffer)->length;
}

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

int main(int count, char **arguments)
{
    if (count != 10) {
        return 2;
    }
    library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    prefix = arguments[2];
    jint inputs = atoi(arguments[3]), classes = atoi(arguments[4]), steps = atoi(arguments[5]);
    size_t score_bytes = (size_t)atoi(arguments[6]);
    char start[16] = {0};
    memcpy(start, arguments[7], 15); /* as much of it as a number holds */
    jlong digest = strtoll(start, NULL, 16);

    /* Any function that is not given here is a call of address 0. */
    struct JNINativeInterface_ table = {0};
    table.FindClass = find_class;
    table.ThrowNew = throw_new;
    table.ExceptionCheck = exception_check;
    table.GetShortArrayRegion = get_shorts;
    table.GetFloatArrayRegion = get_floats;
    table.SetIntArrayRegion = set_ints;
    table.SetLongArrayRegion = set_longs;
    table.SetFloatArrayRegion = set_floats;
    table.NewByteArray = new_bytes;
    table.SetByteArrayRegion = set_bytes;
    table.GetDirectBufferAddress = buffer_address;
    table.GetDirectBufferCapacity = buffer_capacity;
    JNIEnv interface = &table, *env = &interface;

    jint(JNICALL * buffer_bytes)(JNIEnv *, jclass, jlong);
    void(JNICALL * reset_state)(JNIEnv *, jclass, jobject);
    void(JNICALL * take_samples)(JNIEnv *, jclass, jobject, void *, jint);
    void(JNICALL * take_counts)(JNIEnv *, jclass, jobject, void *, jint);
    jint(JNICALL * decision)(JNIEnv *, jclass, jobject);
    void(JNICALL * copy_scores)(JNIEnv *, jclass, jobject, void *);
    jbyteArray(JNICALL * version_text)(JNIEnv *, jclass);
    jbyteArray(JNICALL * digest_text)(JNIEnv *, jclass);
    jbyteArray(JNICALL * class_name_text)(JNIEnv *, jclass, jint);
    void(JNICALL * save_state)(JNIEnv *, jclass, jobject, jobject);
    jint(JNICALL * restore_state)(JNIEnv *, jclass, jobject, jobject);
    void(JNICALL * reset_stream)(JNIEnv *, jclass, jobject);
    jboolean(JNICALL * push[2])(JNIEnv *, jclass, jobject, void *);
    jint(JNICALL * stream_decision)(JNIEnv *, jclass, jobject);
    void(JNICALL * copy_stream_scores)(JNIEnv *, jclass, jobject, void *);
    *(void **)&version_text = method("versionText");
    *(void **)&digest_text = method("digestText");
    *(void **)&class_name_text = method("classNameText");
    *(void **)&save_state = method("saveState");
    *(void **)&restore_state = method("restoreState");
    *(void **)&reset_stream = method("resetStream");
    *(void **)&push[0] = method("pushSample");
    *(void **)&push[1] = method("pushCounts");
    *(void **)&stream_decision = method("streamDecision");
    *(void **)&copy_stream_scores = method("copyStreamScores");
    *(void **)&buffer_bytes = method("bufferBytes");
    *(void **)&reset_state = method("resetState");
    *(void **)&take_samples = method("takeSamples");
    *(void **)&take_counts = method("takeCounts");
    *(void **)&decision = method("classifyState");
    *(void **)&copy_scores = method("copyScores");

    require(buffer_bytes(env, NULL, digest + 1) == 0, "another network accepted");
    jint bytes = buffer_bytes(env, NULL, digest);
    require(bytes > 0, "own network refused");
    require(says(digest_text(env, NULL), arguments[7]), "another digest");
    require(version_text(env, NULL) != NULL && made.length > 0, "no version");
    require(says(class_name_text(env, NULL, classes - 1), arguments[9]), "another class name");
    require(class_name_text(env, NULL, classes) == NULL, "a class too many");
    require(class_name_text(env, NULL, -1) == NULL, "a class before the first");

    /* At an odd address, with guards around it. */
    size_t numbers = (size_t)steps * (size_t)inputs;
    char *memory = malloc((size_t)bytes + 33);
    memset(memory, 0x5A, (size_t)bytes + 33);
    object_t buffer = {memory + 17, bytes, 1};
    float *window = malloc(numbers * sizeof *window);
    jshort *shorts = malloc(numbers * sizeof *shorts);
    object_t floats = {(char *)window, (jlong)numbers, sizeof *window};
    object_t counts = {(char *)shorts, (jlong)numbers, sizeof *shorts};
    object_t scores = {malloc((size_t)classes * score_bytes), classes, score_bytes};
    jobject state = (jobject)&buffer;
    jlong saved_bytes = atoi(arguments[8]);
    object_t saved = {malloc((size_t)saved_bytes), saved_bytes, 1};

    reset_stream(env, NULL, state);
    require(stream_decision(env, NULL, state) == -1, "a decision before any window");
    while (fread(window, sizeof *window, numbers, stdin) == numbers) {
        for (int round = 0; round < 3; ++round) {
            reset_state(env, NULL, state);
            if (round == 0) {
                take_samples(env, NULL, state, &floats, steps);
            } else if (round == 2) {
                take_samples(env, NULL, state, &floats, 1);
                save_state(env, NULL, state, (jobject)&saved);
                take_samples(env, NULL, state, &floats, steps);
                require(restore_state(env, NULL, state, (jobject)&saved) == 0, "a state refused");
                floats.data += (size_t)inputs * sizeof *window;
                floats.length -= inputs;
                take_samples(env, NULL, state, &floats, steps - 1);
                floats.data = (char *)window;
                floats.length += inputs;
                saved.data[saved_bytes / 2] ^= 1;
                require(restore_state(env, NULL, state, (jobject)&saved) == 4, "damage accepted");
            } else {
                for (size_t i = 0; i < numbers; ++i) {
                    shorts[i] = (jshort)window[i];
                }
                take_counts(env, NULL, state, &counts, steps);
            }
            int32_t label = decision(env, NULL, state);
            copy_scores(env, NULL, state, &scores);
            require(pending == 0, "an exception from nothing");
            fwrite(&label, sizeof label, 1, stdout);
            fwrite(scores.data, score_bytes, (size_t)classes, stdout);
        }
        for (int kind = 0; kind < 2; ++kind) {
            size_t element = kind == 0 ? sizeof *window : sizeof *shorts;
            object_t sample = {kind == 0 ? (char *)window : (char *)shorts, inputs, element};
            for (jint step = 0; step < steps; ++step, sample.data += (size_t)inputs * element) {
                jboolean ready = push[kind](env, NULL, state, &sample);
                require(ready == (step == steps - 1), "a decision at another step");
            }
            int32_t label = stream_decision(env, NULL, state);
            copy_stream_scores(env, NULL, state, &scores);
            require(pending == 0, "an exception from nothing");
            fwrite(&label, sizeof label, 1, stdout);
            fwrite(scores.data, score_bytes, (size_t)classes, stdout);
        }
    }
    for (int i = 0; i < 16; ++i) {
        require(memory[1 + i] == 0x5A && memory[17 + bytes + i] == 0x5A, "written beyond the buffer");
    }

    /* Samples up to the end of an array are taken, and none after. */
    char *taken = malloc((size_t)bytes);
    memcpy(taken, buffer.data, (size_t)bytes);
    reset_state(env, NULL, state);
    take_counts(env, NULL, state, &counts, steps + 1);
    require(pending == 1, "no exception from counts that are too short");
    require(memcmp(taken, buffer.data, (size_t)bytes) == 0, "a step after the last count");
    pending = 0;
    reset_state(env, NULL, state);
    take_samples(env, NULL, state, &floats, steps + 1);
    require(pending == 1, "no exception from an array that is too short");
    require(memcmp(taken, buffer.data, (size_t)bytes) == 0, "a step after the last sample");
    pending = 0;
    saved.length -= 1;
    save_state(env, NULL, state, (jobject)&saved);
    require(pending == 2, "no exception from a buffer that is too small to save to");
    pending = 0;
    buffer.length -= 1;
    reset_state(env, NULL, state);
    require(pending == 2, "no exception from a buffer that is too small");
    pending = 0;
    object_t nowhere = {NULL, bytes, 1};
    require(decision(env, NULL, (jobject)&nowhere) == 0 && pending == 2, "no buffer, no exception");
    return 0;
}
