/* Firmware that makes the calls in the file `cases` and writes how long each took, in the processor's
 * clocks, to `ticks`; the first is that of an empty function. */
#include "kernel_calls.h"
#include "semihosting.h"
#include "systick.h"

/* One instruction. */
__attribute__((naked, noinline)) static void nothing_done(void)
{
    __asm volatile("bx lr");
}

__attribute__((noinline)) static uint32_t timed(void (*call)(void))
{
    uint32_t before;
    uint32_t after;
    __asm volatile("" : "+r"(call)); /* no version of this for a call that is known */
    systick_start();
    before = systick_now();
    call();
    after = systick_now();
    return systick_passed(before, after);
}

int main(void)
{
    const int cases = semihosting_open("cases", SEMIHOSTING_READ);
    const int ticks = semihosting_open("ticks", SEMIHOSTING_WRITE);
    uint32_t spent = timed(nothing_done);
    case_t one;
    start();
    (void)semihosting_write(ticks, &spent, sizeof spent);
    while (semihosting_read(cases, &one, sizeof one) == sizeof one) {
        prepare(&one);
        spent = timed(calls[one.kernel]);
        (void)semihosting_write(ticks, &spent, sizeof spent);
    }
    return 0;
}
