int probe(void *ctx) {
    volatile int wait = 1;
    while (wait)
        ;
    return 0;
}
