/* The part of the Java Native Interface that l2mu_jni.c uses, so that no JDK and no NDK is needed.
 *
 * The types are those of the Java Native Interface Specification, chapter 3; the functions stand
 * at their positions in its "Interface Function Table", chapter 4, which no release has moved.
 */
#ifndef L2MU_JNI_H
#define L2MU_JNI_H

#include <stddef.h>
#include <stdint.h>

typedef int8_t jbyte;
typedef int16_t jshort;
typedef int32_t jint;
typedef int64_t jlong;
typedef float jfloat;
typedef uint8_t jboolean;

typedef struct l2mu_jni_object *jobject;
typedef struct l2mu_jni_class *jclass;
typedef struct l2mu_jni_array *jarray;

typedef const struct l2mu_jni_functions *JNIEnv;

/* A member called `before_N` stands for the functions up to position N. */
struct l2mu_jni_functions {
    void *before_6[6];
    jclass (*FindClass)(JNIEnv *env, const char *name);
    void *before_14[14 - 7];
    jint (*ThrowNew)(JNIEnv *env, jclass kind, const char *message);
    void *before_176[176 - 15];
    jarray (*NewByteArray)(JNIEnv *env, jint length);
    void *before_202[202 - 177];
    void (*GetShortArrayRegion)(JNIEnv *env, jarray array, jint start, jint count, jshort *to);
    void *before_205[205 - 203];
    void (*GetFloatArrayRegion)(JNIEnv *env, jarray array, jint start, jint count, jfloat *to);
    void *before_208[208 - 206];
    void (*SetByteArrayRegion)(JNIEnv *env, jarray array, jint start, jint count, const jbyte *from);
    void *before_211[211 - 209];
    void (*SetIntArrayRegion)(JNIEnv *env, jarray array, jint start, jint count, const jint *from);
    void (*SetLongArrayRegion)(JNIEnv *env, jarray array, jint start, jint count, const jlong *from);
    void (*SetFloatArrayRegion)(JNIEnv *env, jarray array, jint start, jint count, const jfloat *from);
    void *before_228[228 - 214];
    jboolean (*ExceptionCheck)(JNIEnv *env);
    void *before_230[230 - 229];
    void *(*GetDirectBufferAddress)(JNIEnv *env, jobject buffer);
    jlong (*GetDirectBufferCapacity)(JNIEnv *env, jobject buffer);
};

#endif
