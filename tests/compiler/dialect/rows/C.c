/// C1 bpf_override_return
/// absent CONFIG_BPF_KPROBE_OVERRIDE
/// load KPROBE
int kprobe__should_failslab(struct pt_regs *ctx)
{
    bpf_override_return(ctx, -ENOMEM);
    return 0;
}
