int probe(void *ctx) {
    char buffer[16] = {};
    __sync_fetch_and_add((u32 *)(buffer + 1), 1);
    return buffer[2];
}
