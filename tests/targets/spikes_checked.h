/* After every kernel that lists spikes: its list has neurons that there are, each once. CHECKED_KERNELS, which
 * is made for a network, puts these checks behind the kernels it calls. */
#include <stdio.h>
#include <stdlib.h>

#include "l2mu_kernels.h"

static inline void check_spikes(const uint16_t *spikes, size_t neurons)
{
    for (size_t k = 1; k <= spikes[0]; ++k) {
        if (spikes[0] > neurons || spikes[k] >= neurons || (k > 1 && spikes[k] <= spikes[k - 1])) {
            fputs("spikes_checked: spikes are not binary\n", stderr);
            abort();
        }
    }
}

#include "checked_kernels.h"
