/* The checksum that ends a saved state of a model `net`, whose header is included first. */
static uint32_t crc32(const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~0U;
    for (size_t bit = 0; bit < 8 * size; ++bit) {
        const uint32_t in = (bytes[bit / 8] >> (bit % 8)) & 1U;
        crc = (crc >> 1) ^ ((0U - ((crc ^ in) & 1U)) & 0xEDB88320U);
    }
    return ~crc;
}

static void make_checksum_fit(uint8_t *bytes)
{
    const uint32_t crc = crc32(bytes, NET_SAVE_BYTES - 4);
    for (int i = 0; i < 4; ++i) {
        bytes[NET_SAVE_BYTES - 4 + i] = (uint8_t)(crc >> 8 * i);
    }
}
