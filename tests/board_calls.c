/* Firmware that does what the file `requests` says, as long as it goes on; answers go to `replies`. */
#include <stdint.h>

#include "semihosting.h"

enum { WRITE, READ, CALL };

typedef struct {
    uint32_t what;
    uint32_t address;
    uint32_t bytes;
    uint32_t argument[8];
} request_t;

typedef uint32_t (*function_t)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
                               uint32_t);

uint8_t board_memory[384 * 1024] __attribute__((aligned(16)));

static void receive(int file, void *to, size_t size)
{
    uint8_t *next = to;
    while (size > 0u) {
        const size_t count = semihosting_read(file, next, size);
        if (count == 0u) {
            semihosting_exit(0);
        }
        next += count;
        size -= count;
    }
}

int main(void)
{
    const int requests = semihosting_open("requests", SEMIHOSTING_READ);
    const int replies = semihosting_open("replies", SEMIHOSTING_WRITE);
    for (;;) {
        request_t request;
        receive(requests, &request, sizeof request);
        void *const memory = (void *)(uintptr_t)request.address;
        if (request.what == WRITE) {
            receive(requests, memory, request.bytes);
        } else if (request.what == READ) {
            (void)semihosting_write(replies, memory, request.bytes);
        } else {
            const function_t function = (function_t)(uintptr_t)(request.address | 1u);
            const uint32_t *const a = request.argument;
            const uint32_t result = function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
            (void)semihosting_write(replies, &result, sizeof result);
        }
    }
}
