#define BPF_LICENSE Proprietary
int probe(struct pt_regs *ctx) {
    bpf_trace_printk("hello\n");
    return 0;
}
