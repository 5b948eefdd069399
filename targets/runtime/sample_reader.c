#include "sample_reader.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "l2mu_model.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6u
#define MAX_HEADER_BYTES 4096u
#define MAX_DIMENSIONS 3u
#define MAX_ELEMENT_BYTES 8u
#define LINE_BYTES (64u * (L2MU_MODEL_INPUTS + 1u))
#define SHOWN 24

/* What a NumPy header says, while it is read. */
typedef struct {
    const sample_reader_t *reader;
    const char *at;
    char type[8];
    uint64_t shape[MAX_DIMENSIONS];
    unsigned dimensions;
    int has_type, has_order, has_shape;
} header_t;

void sample_reader_refuse(const sample_reader_t *reader, const char *format, ...) {
    va_list arguments;
    (void)fprintf(stderr, "%s: %s: ", L2MU_MODEL_NAME, reader->name);
    if (reader->line > 0u) {
        (void)fprintf(stderr, "line %" PRIu64 ": ", reader->line);
    }
    va_start(arguments, format);
    /* The analyzer forgets va_start where a branch lies before it. */
    (void)vfprintf(stderr, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(EXIT_REFUSED);
}

/* The beginning of `text`, up to a character in `ends`, fit for a terminal. */
static const char *shown(const char *text, const char *ends) {
    static char copy[SHOWN + 1];
    size_t size = 0;
    while (size < SHOWN && text[size] != '\0' && strchr(ends, text[size]) == NULL) {
        const char c = text[size];
        copy[size++] = (char)(c < ' ' || c > '~' ? '?' : c);
    }
    copy[size] = '\0';
    return copy;
}

static void read_bytes(const sample_reader_t *reader, void *to, size_t size) {
    if (fread(to, 1, size, reader->file) != size) {
        sample_reader_refuse(reader, "ends before all that its header says");
    }
}

static uint64_t little_endian(const unsigned char *bytes, unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        value |= (uint64_t)bytes[i] << (8u * i);
    }
    return value;
}

/* ---- the header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 100, 6), } ------------ */

static void skip_blanks(header_t *header) {
    while (*header->at == ' ' || *header->at == '\n') {
        header->at++;
    }
}

/* Whether `text` comes next; if so it is passed over. */
static int take(header_t *header, const char *text) {
    const size_t size = strlen(text);
    skip_blanks(header);
    if (strncmp(header->at, text, size) != 0) {
        return 0;
    }
    header->at += size;
    return 1;
}

static void expect(header_t *header, const char *text) {
    if (!take(header, text)) {
        sample_reader_refuse(header->reader, "its header has no '%s' where one must be", text);
    }
}

static void take_type(header_t *header) {
    size_t size = 0;
    if (!take(header, "'")) {
        sample_reader_refuse(header->reader, "its elements are no plain numbers");
    }
    while (header->at[size] != '\'' && header->at[size] != '\0') {
        size++;
    }
    if (size >= sizeof header->type) {
        sample_reader_refuse(header->reader, "its elements are %s", shown(header->at, "'"));
    }
    memcpy(header->type, header->at, size);
    header->type[size] = '\0';
    header->at += size;
    expect(header, "'");
    header->has_type = 1;
}

static uint64_t take_number(header_t *header) {
    uint64_t value = 0;
    skip_blanks(header);
    if (*header->at < '0' || *header->at > '9') {
        sample_reader_refuse(header->reader, "its shape is no list of whole numbers");
    }
    for (; *header->at >= '0' && *header->at <= '9'; header->at++) {
        const unsigned digit = (unsigned)(*header->at - '0');
        if (value > (UINT64_MAX - digit) / 10u) {
            sample_reader_refuse(header->reader, "its shape is too large");
        }
        value = 10u * value + digit;
    }
    return value;
}

static void take_shape(header_t *header) {
    expect(header, "(");
    header->dimensions = 0;
    while (!take(header, ")")) {
        if (header->dimensions == MAX_DIMENSIONS) {
            sample_reader_refuse(header->reader, "it has more than %u dimensions", MAX_DIMENSIONS);
        }
        header->shape[header->dimensions++] = take_number(header);
        if (!take(header, ",")) {
            expect(header, ")");
            break;
        }
    }
    header->has_shape = 1;
}

static void take_order(header_t *header) {
    if (!take(header, "False")) {
        sample_reader_refuse(header->reader, "it is in Fortran order; C order is read");
    }
    header->has_order = 1;
}

static void take_header(header_t *header) {
    expect(header, "{");
    while (!take(header, "}")) {
        if (take(header, "'descr':")) {
            take_type(header);
        } else if (take(header, "'fortran_order':")) {
            take_order(header);
        } else if (take(header, "'shape':")) {
            take_shape(header);
        } else {
            sample_reader_refuse(header->reader, "its header is not one of a .npy file");
        }
        if (!take(header, ",")) {
            expect(header, "}");
            break;
        }
    }
    skip_blanks(header);
    if (*header->at != '\0' || !header->has_type || !header->has_order || !header->has_shape) {
        sample_reader_refuse(header->reader, "its header is not one of a .npy file");
    }
}

static void use_shape(sample_reader_t *reader, const header_t *header) {
    const unsigned rank = header->dimensions;
    if (rank < 2u) {
        sample_reader_refuse(reader, "it has %u dimensions; [steps, inputs] has two", rank);
    }
    if (header->shape[rank - 1u] != L2MU_MODEL_INPUTS) {
        sample_reader_refuse(reader, "its samples have %" PRIu64 " channels; the model has %d",
                             header->shape[rank - 1u], L2MU_MODEL_INPUTS);
    }
    reader->steps = header->shape[rank - 2u];
    reader->windows = rank == 3u ? header->shape[0] : 1u;
    if (reader->steps == 0u || reader->windows == 0u) {
        sample_reader_refuse(reader, "it holds no sample");
    }
}

static void use_type(sample_reader_t *reader, const char *type) {
    static const char *const known[] = {"<f4", "<f8", "<i2", "<i4"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(type, known[i]) == 0) {
            reader->type = type[1];
            reader->bytes = (unsigned)(type[2] - '0');
            return;
        }
    }
    sample_reader_refuse(reader, "its elements are %s; <f4, <f8, <i2 and <i4 are read",
                         shown(type, ""));
}

static void open_numpy(sample_reader_t *reader) {
    static char text[MAX_HEADER_BYTES + 1u];
    unsigned char start[MAGIC_BYTES + 2u];
    unsigned char length[4] = {0};
    header_t header = {.reader = reader, .at = text};
    read_bytes(reader, start, sizeof start);
    if (memcmp(start, MAGIC, MAGIC_BYTES) != 0) {
        sample_reader_refuse(reader, "is neither a .npy file nor text");
    }
    if (start[MAGIC_BYTES] < 1u || start[MAGIC_BYTES] > 3u) {
        sample_reader_refuse(reader, "is a .npy file of version %d", start[MAGIC_BYTES]);
    }
    const unsigned bytes = start[MAGIC_BYTES] == 1u ? 2u : 4u;
    read_bytes(reader, length, bytes);
    const uint64_t size = little_endian(length, bytes);
    if (size > MAX_HEADER_BYTES) {
        sample_reader_refuse(reader, "its header takes %" PRIu64 " bytes; at most %u are read",
                             size, MAX_HEADER_BYTES);
    }
    read_bytes(reader, text, (size_t)size);
    text[size] = '\0';
    if (memchr(text, '\0', (size_t)size) != NULL) {
        sample_reader_refuse(reader, "its header is not one of a .npy file");
    }
    take_header(&header);
    use_type(reader, header.type);
    use_shape(reader, &header);
}

/* ---- elements -------------------------------------------------------------------------------- */

static float element(const sample_reader_t *reader, const unsigned char *bytes) {
    const uint64_t bits = little_endian(bytes, reader->bytes);
    if (reader->type == 'i') {
        return reader->bytes == 2u ? (float)(int16_t)bits : (float)(int32_t)bits;
    }
    if (reader->bytes == 4u) {
        const uint32_t word = (uint32_t)bits;
        float value;
        memcpy(&value, &word, sizeof value);
        return value;
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    return fabs(value) > (double)FLT_MAX ? HUGE_VALF : (float)value;
}

static void check_finite(const sample_reader_t *reader, const float *sample) {
    for (int channel = 0; channel < L2MU_MODEL_INPUTS; channel++) {
        if (!isfinite(sample[channel])) {
            sample_reader_refuse(reader, "channel %d of a sample is no finite float32", channel);
        }
    }
}

static got_t next_of_numpy(sample_reader_t *reader, float *sample) {
    unsigned char bytes[MAX_ELEMENT_BYTES];
    if (reader->step == reader->steps) {
        reader->step = 0;
        reader->windows--;
        return GOT_WINDOW_END;
    }
    if (reader->windows == 0u) {
        if (fgetc(reader->file) != EOF) {
            sample_reader_refuse(reader, "goes on after all that its header says");
        }
        return GOT_END;
    }
    for (int channel = 0; channel < L2MU_MODEL_INPUTS; channel++) {
        read_bytes(reader, bytes, reader->bytes);
        sample[channel] = element(reader, bytes);
    }
    reader->step++;
    return GOT_SAMPLE;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* A line without its end; 0 if there is none. */
static int read_line(sample_reader_t *reader, char *line) {
    size_t size = 0;
    int c = fgetc(reader->file);
    reader->line++;
    if (c == EOF) {
        return 0;
    }
    for (; c != EOF && c != '\n'; c = fgetc(reader->file)) {
        if (c == '\0') {
            sample_reader_refuse(reader, "is neither a .npy file nor text");
        }
        if (size == LINE_BYTES - 1u) {
            sample_reader_refuse(reader, "is longer than %u characters", LINE_BYTES - 1u);
        }
        line[size++] = (char)c;
    }
    line[size] = '\0';
    return 1;
}

static const char *past_blanks(const char *at) {
    return at + strspn(at, " \t\r");
}

static void parse_line(const sample_reader_t *reader, const char *at, float *sample) {
    for (int channel = 0; channel < L2MU_MODEL_INPUTS; channel++) {
        char *end;
        at = past_blanks(at);
        if (channel > 0 && *at == ',') {
            at = past_blanks(at + 1);
        }
        sample[channel] = strtof(at, &end);
        if (end == at || strchr(", \t\r", *end) == NULL) {
            sample_reader_refuse(reader, "'%s' is no number, but channel %d of %d must be one",
                                 shown(at, ", \t\r"), channel, L2MU_MODEL_INPUTS);
        }
        at = end;
    }
    if (*past_blanks(at) != '\0') {
        sample_reader_refuse(reader, "has more than %d numbers", L2MU_MODEL_INPUTS);
    }
}

static got_t next_of_text(sample_reader_t *reader, float *sample) {
    static char line[LINE_BYTES];
    while (read_line(reader, line)) {
        if (*past_blanks(line) != '\0') {
            parse_line(reader, line, sample);
            reader->samples++;
            return GOT_SAMPLE;
        }
        if (reader->samples > 0u) {
            reader->samples = 0;
            return GOT_WINDOW_END;
        }
    }
    if (reader->samples > 0u) {
        reader->samples = 0;
        return GOT_WINDOW_END;
    }
    return GOT_END;
}

static void check_readable(const sample_reader_t *reader) {
    if (ferror(reader->file)) {
        sample_reader_refuse(reader, "cannot be read: %s", strerror(errno));
    }
}

void sample_reader_open(sample_reader_t *reader, FILE *file, const char *name) {
    const int first = fgetc(file);
    *reader = (sample_reader_t){.file = file, .name = name};
    check_readable(reader);
    if (first == EOF) {
        sample_reader_refuse(reader, "holds no sample");
    }
    (void)ungetc(first, file);
    if (first == (unsigned char)MAGIC[0]) {
        open_numpy(reader);
    }
}

got_t sample_reader_next(sample_reader_t *reader, float *sample) {
    const got_t got =
            reader->bytes > 0u ? next_of_numpy(reader, sample) : next_of_text(reader, sample);
    if (got == GOT_SAMPLE) {
        check_finite(reader, sample);
    }
    check_readable(reader);
    return got;
}
