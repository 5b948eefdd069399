#include <stdbool.h>
#include <string.h>

#include "l2mu_kernels.h"

/* magic, version, start of the digest; then the members; then a CRC-32 of all before. */
#define MAGIC 0x554D324CU /* "L2MU" */
#define VERSION 2U
#define DIGEST_AT 8U
#define DIGEST_BYTES 16U
#define HEADER_BYTES (DIGEST_AT + DIGEST_BYTES)
#define CHECKSUM_BYTES 4U

static uint64_t get(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i > 0U; --i) {
        value = (value << 8U) | bytes[i - 1U];
    }
    return value;
}

static void put(uint8_t *bytes, size_t size, uint64_t value)
{
    uint64_t rest = value;
    for (size_t i = 0; i < size; ++i) {
        bytes[i] = (uint8_t)(rest & 0xFFU);
        rest >>= 8U;
    }
}

/* CRC-32 of IEEE 802.3. */
static uint32_t checksum(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xFFFFFFFFU;
    for (size_t i = 0; i < size; ++i) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; ++bit) {
            const uint32_t fed_back = ((crc & 1U) != 0U) ? 0xEDB88320U : 0U;
            crc = (crc >> 1U) ^ fed_back;
        }
    }
    return ~crc;
}

static uint64_t get_element(const unsigned char *element, size_t size)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (size) {
    case 2:
        (void)memcpy((unsigned char *)&two, element, sizeof two);
        return two;
    case 4:
        (void)memcpy((unsigned char *)&four, element, sizeof four);
        return four;
    default:
        (void)memcpy((unsigned char *)&eight, element, sizeof eight);
        return eight;
    }
}

static void put_element(unsigned char *element, size_t size, uint64_t value)
{
    const uint16_t two = (uint16_t)value;
    const uint32_t four = (uint32_t)value;
    switch (size) {
    case 2:
        (void)memcpy(element, (const unsigned char *)&two, sizeof two);
        break;
    case 4:
        (void)memcpy(element, (const unsigned char *)&four, sizeof four);
        break;
    default:
        (void)memcpy(element, (const unsigned char *)&value, sizeof value);
        break;
    }
}

void l2mu_save_state(const l2mu_layout_t *layout, const void *state, uint8_t *bytes)
{
    size_t at = HEADER_BYTES;
    put(bytes, 4, MAGIC);
    put(&bytes[4], 4, VERSION);
    (void)memcpy(&bytes[DIGEST_AT], layout->digest, DIGEST_BYTES);
    for (size_t i = 0; i < layout->members; ++i) {
        const l2mu_member_t *const member = &layout->member[i];
        const unsigned char *element = (const unsigned char *)state + member->offset;
        for (size_t k = 0; k < member->count; ++k) {
            put(&bytes[at], member->bytes, get_element(element, member->bytes));
            element += member->bytes;
            at += member->bytes;
        }
    }
    put(&bytes[at], CHECKSUM_BYTES, checksum(bytes, at));
}

static bool is_within_limits(const l2mu_member_t *member, const uint8_t *bytes)
{
    const uint64_t sign = (uint64_t)1U << ((8U * member->bytes) - 1U);
    for (size_t k = 0; k < member->count; ++k) {
        const uint64_t extended = (get(&bytes[k * member->bytes], member->bytes) ^ sign) - sign;
        int64_t value;
        (void)memcpy(&value, &extended, sizeof value);
        if ((value < member->low) || (value > member->high)) {
            return false;
        }
    }
    return true;
}

static bool is_possible(const l2mu_member_t *member, const uint8_t *bytes)
{
    return (member->kind == (uint8_t)L2MU_FLOATS) || is_within_limits(member, bytes);
}

int l2mu_restore_state(const l2mu_layout_t *layout, void *state, const uint8_t *bytes, size_t size)
{
    size_t content = HEADER_BYTES;
    for (size_t i = 0; i < layout->members; ++i) {
        content += (size_t)layout->member[i].count * layout->member[i].bytes;
    }
    if (size != (content + CHECKSUM_BYTES)) {
        return L2MU_WRONG_SIZE;
    }
    if ((get(bytes, 4) != MAGIC) || (get(&bytes[4], 4) != VERSION)) {
        return L2MU_NOT_SAVED;
    }
    for (size_t i = 0; i < DIGEST_BYTES; ++i) {
        if (bytes[DIGEST_AT + i] != (uint8_t)layout->digest[i]) {
            return L2MU_OTHER_NETWORK;
        }
    }
    if (get(&bytes[content], CHECKSUM_BYTES) != checksum(bytes, content)) {
        return L2MU_DAMAGED;
    }
    size_t at = HEADER_BYTES;
    for (size_t i = 0; i < layout->members; ++i) {
        const l2mu_member_t *const member = &layout->member[i];
        if (!is_possible(member, &bytes[at])) {
            return L2MU_IMPOSSIBLE;
        }
        at += (size_t)member->count * member->bytes;
    }
    (void)memset(state, 0, layout->state_bytes);
    at = HEADER_BYTES;
    for (size_t i = 0; i < layout->members; ++i) {
        const l2mu_member_t *const member = &layout->member[i];
        unsigned char *element = (unsigned char *)state + member->offset;
        for (size_t k = 0; k < member->count; ++k) {
            put_element(element, member->bytes, get(&bytes[at], member->bytes));
            element += member->bytes;
            at += member->bytes;
        }
    }
    return 0;
}
