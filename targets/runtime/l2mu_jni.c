/* The native methods of a model's Java class, for Android and for a desktop JVM.
 *
 * l2mu_jni_model.h says which model and which class. A Java object owns one direct buffer, in which
 * its `stream_t` lies: nothing is allocated here, and the garbage collector frees it. What the class
 * passes was checked there; what the JVM finds wrong itself ends as its exception.
 */
#include "l2mu_jni.h"
#include "l2mu_jni_model.h"

/* No member of a state needs more. */
#define ALIGNMENT 16u

/* The state of one stream of samples, and the sample that is being read. */
typedef struct {
    L2MU_STATE state;
    jfloat sample[L2MU_CHANNELS];
    jshort counts[L2MU_CHANNELS];
} stream_t;

/* A buffer may start anywhere. */
#define BUFFER_BYTES (sizeof(stream_t) + ALIGNMENT - 1u)

/* The stream in a buffer, or NULL and a Java exception. */
static stream_t *stream_in(JNIEnv *env, jobject buffer)
{
    char *start = (*env)->GetDirectBufferAddress(env, buffer);
    if (start == NULL || (*env)->GetDirectBufferCapacity(env, buffer) < (jlong)BUFFER_BYTES) {
        jclass kind = (*env)->FindClass(env, "java/lang/IllegalStateException");
        if (kind != NULL) {
            (*env)->ThrowNew(env, kind, "this JVM gives native code no access to the model's state");
        }
        return NULL;
    }
    start += (ALIGNMENT - (uintptr_t)start % ALIGNMENT) % ALIGNMENT;
    return (stream_t *)(void *)start;
}

/* Bytes of buffer an object needs; 0 if this library has another network than the class. */
jint L2MU_JAVA(bufferBytes)(JNIEnv *env, jclass self, jlong digest)
{
    (void)env;
    (void)self;
    return digest == L2MU_DIGEST ? (jint)BUFFER_BYTES : 0;
}

void L2MU_JAVA(resetState)(JNIEnv *env, jclass self, jobject buffer)
{
    stream_t *stream = stream_in(env, buffer);
    (void)self;
    if (stream != NULL) {
        L2MU_MODEL(reset)(&stream->state);
    }
}

void L2MU_JAVA(takeSamples)(JNIEnv *env, jclass self, jobject buffer, jarray samples, jint steps)
{
    stream_t *stream = stream_in(env, buffer);
    (void)self;
    for (jint step = 0; stream != NULL && step < steps; ++step) {
        (*env)->GetFloatArrayRegion(env, samples, step * L2MU_CHANNELS, L2MU_CHANNELS, stream->sample);
        if ((*env)->ExceptionCheck(env)) {
            return;
        }
        L2MU_MODEL(step)(&stream->state, stream->sample);
    }
}

void L2MU_JAVA(takeCounts)(JNIEnv *env, jclass self, jobject buffer, jarray counts, jint steps)
{
    stream_t *stream = stream_in(env, buffer);
    (void)self;
    for (jint step = 0; stream != NULL && step < steps; ++step) {
        (*env)->GetShortArrayRegion(env, counts, step * L2MU_CHANNELS, L2MU_CHANNELS, stream->counts);
        if ((*env)->ExceptionCheck(env)) {
            return;
        }
        L2MU_MODEL(step_raw)(&stream->state, stream->counts);
    }
}

jint L2MU_JAVA(decision)(JNIEnv *env, jclass self, jobject buffer)
{
    stream_t *stream = stream_in(env, buffer);
    (void)self;
    return stream == NULL ? 0 : L2MU_MODEL(classify)(&stream->state);
}

void L2MU_JAVA(copyScores)(JNIEnv *env, jclass self, jobject buffer, jarray scores)
{
    stream_t *stream = stream_in(env, buffer);
    (void)self;
    if (stream != NULL) {
        (*env)->L2MU_SET_SCORES(env, scores, 0, L2MU_SCORES, L2MU_MODEL(scores)(&stream->state));
    }
}
