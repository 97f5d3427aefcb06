BPF_RINGBUF_OUTPUT(events, 8);
int probe(void *ctx) {
    u64 *record = events.ringbuf_reserve(sizeof(u64));
    if (!record)
        return 0;
    *record = bpf_ktime_get_ns();
    if (*record & 1)
        events.ringbuf_submit(record, 0);
    return 0;
}
