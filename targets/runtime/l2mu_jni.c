/* The native methods of a model's Java class, for Android and for a desktop JVM.
 *
 * l2mu_jni_model.h says which model and which class. A Java object owns one direct buffer, in which
 * its `instance_t` lies: nothing is allocated here, and the garbage collector frees it. What the
 * class passes was checked there; what the JVM finds wrong itself ends as its exception.
 */
#include "l2mu_jni.h"
#include "l2mu_jni_model.h"

/* No member of a state needs more. */
#define ALIGNMENT 16u

/* What an object remembers, and the sample that is being read. */
typedef struct {
    L2MU_STATE state;
#ifdef L2MU_STREAM
    L2MU_STREAM stream;
#endif
    jfloat sample[L2MU_CHANNELS];
    jshort counts[L2MU_CHANNELS];
} instance_t;

/* A buffer may start anywhere. */
#define BUFFER_BYTES (sizeof(instance_t) + ALIGNMENT - 1u)

/* The memory of a direct buffer of at least `size` bytes, or NULL and a Java exception. */
static void *memory_of(JNIEnv *env, jobject buffer, size_t size)
{
    void *start = (*env)->GetDirectBufferAddress(env, buffer);
    if (start == NULL || (*env)->GetDirectBufferCapacity(env, buffer) < (jlong)size) {
        jclass kind = (*env)->FindClass(env, "java/lang/IllegalStateException");
        if (kind != NULL) {
            (*env)->ThrowNew(env, kind, "this JVM gives native code no access to the model's state");
        }
        return NULL;
    }
    return start;
}

/* The instance in a buffer, or NULL and a Java exception. */
static instance_t *instance_in(JNIEnv *env, jobject buffer)
{
    char *start = memory_of(env, buffer, BUFFER_BYTES);
    if (start == NULL) {
        return NULL;
    }
    start += (ALIGNMENT - (uintptr_t)start % ALIGNMENT) % ALIGNMENT;
    return (instance_t *)(void *)start;
}

/* The bytes of a string that ends with 0, or NULL and a Java exception. */
static jarray bytes_of(JNIEnv *env, const char *text)
{
    jint length = 0;
    jarray array;
    while (text[length] != '\0') {
        ++length;
    }
    array = (*env)->NewByteArray(env, length);
    if (array != NULL) {
        (*env)->SetByteArrayRegion(env, array, 0, length, (const jbyte *)text);
    }
    return array;
}

/* Whether `instance` now has the sample at `step` of an array; a Java exception if that ends before. */
static int read_sample(JNIEnv *env, instance_t *instance, jarray samples, jint step)
{
    (*env)->GetFloatArrayRegion(env, samples, step * L2MU_CHANNELS, L2MU_CHANNELS, instance->sample);
    return !(*env)->ExceptionCheck(env);
}

static int read_counts(JNIEnv *env, instance_t *instance, jarray counts, jint step)
{
    (*env)->GetShortArrayRegion(env, counts, step * L2MU_CHANNELS, L2MU_CHANNELS, instance->counts);
    return !(*env)->ExceptionCheck(env);
}

/* Bytes of buffer an object needs; 0 if this library has another network than the class. */
jint L2MU_JAVA(bufferBytes)(JNIEnv *env, jclass self, jlong digest)
{
    (void)env;
    (void)self;
    return digest == L2MU_DIGEST ? (jint)BUFFER_BYTES : 0;
}

jarray L2MU_JAVA(versionText)(JNIEnv *env, jclass self)
{
    (void)self;
    return bytes_of(env, L2MU_MODEL(version)());
}

jarray L2MU_JAVA(digestText)(JNIEnv *env, jclass self)
{
    (void)self;
    return bytes_of(env, L2MU_MODEL(digest)());
}

/* NULL for a label that is none. */
jarray L2MU_JAVA(classNameText)(JNIEnv *env, jclass self, jint label)
{
    const char *name = L2MU_MODEL(class_name)((int)label);
    (void)self;
    return name == NULL ? NULL : bytes_of(env, name);
}

void L2MU_JAVA(resetState)(JNIEnv *env, jclass self, jobject buffer)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    if (instance != NULL) {
        L2MU_MODEL(reset)(&instance->state);
    }
}

/* Whether there is no need for more steps of a window. */
static int is_decided(const instance_t *instance)
{
#ifdef L2MU_DECIDES_EARLY
    return L2MU_MODEL(decided)(&instance->state) >= 0;
#else
    (void)instance;
    return 0;
#endif
}

void L2MU_JAVA(takeSamples)(JNIEnv *env, jclass self, jobject buffer, jarray samples, jint steps)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    for (jint step = 0; instance != NULL && step < steps; ++step) {
        if ((step > 0) && is_decided(instance)) {
            return;
        }
        if (!read_sample(env, instance, samples, step)) {
            return;
        }
        L2MU_MODEL(step)(&instance->state, instance->sample);
    }
}

void L2MU_JAVA(takeCounts)(JNIEnv *env, jclass self, jobject buffer, jarray counts, jint steps)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    for (jint step = 0; instance != NULL && step < steps; ++step) {
        if ((step > 0) && is_decided(instance)) {
            return;
        }
        if (!read_counts(env, instance, counts, step)) {
            return;
        }
        L2MU_MODEL(step_raw)(&instance->state, instance->counts);
    }
}

jint L2MU_JAVA(classifyState)(JNIEnv *env, jclass self, jobject buffer)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    return instance == NULL ? 0 : L2MU_MODEL(classify)(&instance->state);
}

#ifdef L2MU_DECIDES_EARLY
jint L2MU_JAVA(decidedClass)(JNIEnv *env, jclass self, jobject buffer)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    return instance == NULL ? -1 : L2MU_MODEL(decided)(&instance->state);
}
#endif

void L2MU_JAVA(copyScores)(JNIEnv *env, jclass self, jobject buffer, jarray scores)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    if (instance != NULL) {
        (*env)->L2MU_SET_SCORES(env, scores, 0, L2MU_SCORES, L2MU_MODEL(scores)(&instance->state));
    }
}

void L2MU_JAVA(saveState)(JNIEnv *env, jclass self, jobject buffer, jobject saved)
{
    instance_t *instance = instance_in(env, buffer);
    uint8_t *bytes = instance == NULL ? NULL : memory_of(env, saved, L2MU_SAVED);
    (void)self;
    if (bytes != NULL) {
        L2MU_MODEL(save)(&instance->state, bytes);
    }
}

/* 0, or what the C function says of bytes that it refuses. */
jint L2MU_JAVA(restoreState)(JNIEnv *env, jclass self, jobject buffer, jobject saved)
{
    instance_t *instance = instance_in(env, buffer);
    uint8_t *bytes = instance == NULL ? NULL : memory_of(env, saved, L2MU_SAVED);
    (void)self;
    return bytes == NULL ? 0 : L2MU_MODEL(restore)(&instance->state, bytes, L2MU_SAVED);
}

#ifdef L2MU_STREAM
void L2MU_JAVA(resetStream)(JNIEnv *env, jclass self, jobject buffer)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    if (instance != NULL) {
        L2MU_MODEL(stream_reset)(&instance->stream);
    }
}

jboolean L2MU_JAVA(pushSample)(JNIEnv *env, jclass self, jobject buffer, jarray sample)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    return instance != NULL && read_sample(env, instance, sample, 0) &&
           L2MU_MODEL(push)(&instance->stream, instance->sample);
}

jboolean L2MU_JAVA(pushCounts)(JNIEnv *env, jclass self, jobject buffer, jarray counts)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    return instance != NULL && read_counts(env, instance, counts, 0) &&
           L2MU_MODEL(push_raw)(&instance->stream, instance->counts);
}

jint L2MU_JAVA(streamDecision)(JNIEnv *env, jclass self, jobject buffer)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    return instance == NULL ? -1 : L2MU_MODEL(decision)(&instance->stream);
}

void L2MU_JAVA(copyStreamScores)(JNIEnv *env, jclass self, jobject buffer, jarray scores)
{
    instance_t *instance = instance_in(env, buffer);
    (void)self;
    if (instance != NULL) {
        (*env)->L2MU_SET_SCORES(
            env, scores, 0, L2MU_SCORES, L2MU_MODEL(stream_scores)(&instance->stream));
    }
}
#endif
