/* What the kernel that the BTF was taken from lacks, and usual ones have: declarations in C, which
 * `python -m tests.build btf` reads. A type that is not declared here is the kernel's own. After
 * `#pragma module NAME` functions belong to that module. System calls (__x64_sys_*) are added from
 * minibcc/btf/data/syscalls.txt. Layouts are those of Linux 6.x where a program can see them.
 */

/* --- tracepoints of options that are off there ------------------------------------------------ */

struct trace_event_raw_preemptirq_template {
    struct trace_entry ent;
    s32 caller_offs;
    s32 parent_offs;
    char __data[0];
};
typedef void (*btf_trace_irq_disable)(void *, unsigned long ip, unsigned long parent_ip);
typedef void (*btf_trace_irq_enable)(void *, unsigned long ip, unsigned long parent_ip);
typedef void (*btf_trace_preempt_disable)(void *, unsigned long ip, unsigned long parent_ip);
typedef void (*btf_trace_preempt_enable)(void *, unsigned long ip, unsigned long parent_ip);

struct trace_event_raw_sched_stat_template {
    struct trace_entry ent;
    u32 __data_loc_comm;
    pid_t pid;
    u64 delay;
    char __data[0];
};
typedef void (*btf_trace_sched_stat_wait)(void *, struct task_struct *tsk, u64 delay);
typedef void (*btf_trace_sched_stat_sleep)(void *, struct task_struct *tsk, u64 delay);
typedef void (*btf_trace_sched_stat_iowait)(void *, struct task_struct *tsk, u64 delay);
typedef void (*btf_trace_sched_stat_blocked)(void *, struct task_struct *tsk, u64 delay);

struct trace_event_raw_module_load {
    struct trace_entry ent;
    unsigned int taints;
    u32 __data_loc_name;
    char __data[0];
};
struct trace_event_raw_module_free {
    struct trace_entry ent;
    u32 __data_loc_name;
    char __data[0];
};
struct trace_event_raw_module_refcnt {
    struct trace_entry ent;
    unsigned long ip;
    int refcnt;
    u32 __data_loc_name;
    char __data[0];
};
struct trace_event_raw_module_request {
    struct trace_entry ent;
    unsigned long ip;
    bool wait;
    u32 __data_loc_name;
    char __data[0];
};
typedef void (*btf_trace_module_load)(void *, struct module *mod);
typedef void (*btf_trace_module_free)(void *, struct module *mod);
typedef void (*btf_trace_module_get)(void *, struct module *mod, unsigned long ip);
typedef void (*btf_trace_module_put)(void *, struct module *mod, unsigned long ip);
typedef void (*btf_trace_module_request)(void *, char *name, bool wait, unsigned long ip);

/* Gone since 5.18; tutorials and BCC's examples still use it. */
struct trace_event_raw_urandom_read {
    struct trace_entry ent;
    int got_bits;
    int pool_left;
    int input_left;
    char __data[0];
};
typedef void (*btf_trace_urandom_read)(void *, int got_bits, int pool_left, int input_left);

struct trace_event_raw_scsi_dispatch_cmd_start {
    struct trace_entry ent;
    unsigned int host_no;
    unsigned int channel;
    unsigned int id;
    unsigned int lun;
    unsigned int opcode;
    unsigned int cmd_len;
    int driver_tag;
    int scheduler_tag;
    unsigned int data_sglen;
    unsigned int prot_sglen;
    unsigned char prot_op;
    u32 __data_loc_cmnd;
    char __data[0];
};
struct trace_event_raw_scsi_cmd_done_timeout_template {
    struct trace_entry ent;
    unsigned int host_no;
    unsigned int channel;
    unsigned int id;
    unsigned int lun;
    int result;
    unsigned int opcode;
    unsigned int cmd_len;
    int driver_tag;
    int scheduler_tag;
    unsigned int data_sglen;
    unsigned int prot_sglen;
    unsigned char prot_op;
    u32 __data_loc_cmnd;
    char __data[0];
};
struct scsi_cmnd;
typedef void (*btf_trace_scsi_dispatch_cmd_start)(void *, struct scsi_cmnd *cmd);
typedef void (*btf_trace_scsi_dispatch_cmd_done)(void *, struct scsi_cmnd *cmd);
typedef void (*btf_trace_scsi_dispatch_cmd_timeout)(void *, struct scsi_cmnd *cmd);

/* --- functions that are elsewhere, inlined or configured away ------------------------------ */

void folio_account_dirtied(struct folio *folio, struct address_space *mapping);
void do_page_cache_ra(struct readahead_control *ractl, unsigned long nr_to_read, unsigned long lookahead_size);
struct mddev;
bool md_flush_request(struct mddev *mddev, struct bio *bio);
int do_init_module(struct module *mod);
int should_failslab(struct kmem_cache *s, gfp_t gfpflags);
int should_fail_alloc_page(gfp_t gfp_mask, unsigned int order);

/* --- NFS --------------------------------------------------------------------------------------- */
#pragma module nfs

enum nfs3_stable_how { NFS_UNSTABLE = 0, NFS_DATA_SYNC = 1, NFS_FILE_SYNC = 2, NFS_INVALID_STABLE_HOW = -1 };

struct nfs_fh {
    unsigned short size;
    unsigned char data[128];
};
struct nfs_fsid {
    u64 major;
    u64 minor;
};
struct nfs_fattr {
    __u64 valid;
    umode_t mode;
    __u32 nlink;
    kuid_t uid;
    kgid_t gid;
    dev_t rdev;
    __u64 size;
    union {
        struct { __u32 blocksize; __u32 blocks; } nfs2;
        struct { __u64 used; } nfs3;
    } du;
    struct nfs_fsid fsid;
    __u64 fileid;
    __u64 mounted_on_fileid;
    struct timespec64 atime;
    struct timespec64 mtime;
    struct timespec64 ctime;
    __u64 change_attr;
    __u64 pre_change_attr;
    __u64 pre_size;
    struct timespec64 pre_mtime;
    struct timespec64 pre_ctime;
    unsigned long time_start;
    unsigned long gencount;
    struct nfs4_string *owner_name;
    struct nfs4_string *group_name;
    struct nfs4_threshold *mdsthreshold;
    struct nfs4_label *label;
};
struct nfs_write_verifier {
    char data[8];
};
struct nfs_writeverf {
    struct nfs_write_verifier verifier;
    enum nfs3_stable_how committed;
};
struct nfs4_sequence_args {
    struct nfs4_slot *sa_slot;
    u8 sa_cache_this : 1;
    u8 sa_privileged : 1;
};
struct nfs4_sequence_res {
    struct nfs4_slot *sr_slot;
    unsigned long sr_timestamp;
    int sr_status;
    u32 sr_status_flags;
    u32 sr_highest_slotid;
    u32 sr_target_highest_slotid;
};
struct nfs_commitargs {
    struct nfs4_sequence_args seq_args;
    struct nfs_fh *fh;
    __u64 offset;
    __u32 count;
    const u32 *bitmask;
};
struct nfs_commitres {
    struct nfs4_sequence_res seq_res;
    __u32 op_status;
    struct nfs_fattr *fattr;
    struct nfs_writeverf *verf;
    const struct nfs_server *server;
};
struct nfs_lock_context {
    refcount_t count;
    struct list_head list;
    struct nfs_open_context *open_context;
    fl_owner_t lockowner;
    atomic_t io_count;
    struct callback_head callback_head;
};
struct nfs_open_context {
    struct nfs_lock_context lock_context;
    fl_owner_t flock_owner;
    struct dentry *dentry;
    const struct cred *cred;
    struct rpc_cred *ll_cred;
    struct nfs4_state *state;
    fmode_t mode;
    unsigned long flags;
    int error;
    struct list_head list;
    struct nfs4_threshold *mdsthreshold;
    struct callback_head callback_head;
};
struct rpc_wait {
    struct list_head list;
    struct list_head links;
    struct list_head timer_list;
};
struct rpc_message {
    const struct rpc_procinfo *rpc_proc;
    void *rpc_argp;
    void *rpc_resp;
    const struct cred *rpc_cred;
};
struct rpc_task {
    atomic_t tk_count;
    int tk_status;
    struct list_head tk_task;
    void (*tk_callback)(struct rpc_task *);
    void (*tk_action)(struct rpc_task *);
    unsigned long tk_timeout;
    unsigned long tk_runstate;
    struct rpc_wait_queue *tk_waitqueue;
    union {
        struct work_struct tk_work;
        struct rpc_wait tk_wait;
    } u;
    struct rpc_message tk_msg;
    void *tk_calldata;
    const struct rpc_call_ops *tk_ops;
    struct rpc_clnt *tk_client;
    struct rpc_xprt *tk_xprt;
    struct rpc_cred *tk_op_cred;
    struct rpc_rqst *tk_rqstp;
    struct workqueue_struct *tk_workqueue;
    ktime_t tk_start;
    pid_t tk_owner;
    int tk_rpc_status;
    unsigned short tk_flags;
    unsigned short tk_timeouts;
    unsigned short tk_pid;
    unsigned char tk_priority : 2;
    unsigned char tk_garb_retry : 2;
    unsigned char tk_cred_retry : 2;
};
struct nfs_commit_data {
    struct rpc_task task;
    struct inode *inode;
    const struct cred *cred;
    struct nfs_fattr fattr;
    struct nfs_writeverf verf;
    struct list_head pages;
    struct list_head list;
    struct nfs_direct_req *dreq;
    struct nfs_commitargs args;
    struct nfs_commitres res;
    struct nfs_open_context *context;
    struct pnfs_layout_segment *lseg;
    struct nfs_client *ds_clp;
    int ds_commit_index;
    loff_t lwb;
    const struct rpc_call_ops *mds_ops;
    const struct nfs_commit_completion_ops *completion_ops;
    int (*commit_done_cb)(struct rpc_task *task, struct nfs_commit_data *data);
    unsigned long flags;
};

ssize_t nfs_file_read(struct kiocb *iocb, struct iov_iter *to);
ssize_t nfs_file_write(struct kiocb *iocb, struct iov_iter *from);
int nfs_file_open(struct inode *inode, struct file *filp);
int nfs4_file_open(struct inode *inode, struct file *filp);
int nfs_file_release(struct inode *inode, struct file *filp);
int nfs_file_fsync(struct file *file, loff_t start, loff_t end, int datasync);
int nfs_getattr(struct mnt_idmap *idmap, const struct path *path, struct kstat *stat, u32 request_mask,
                unsigned int query_flags);
int nfs_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr);
struct dentry *nfs_lookup(struct inode *dir, struct dentry *dentry, unsigned int flags);
int nfs_create(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode, bool excl);
int nfs_unlink(struct inode *dir, struct dentry *dentry);
int nfs_rename(struct mnt_idmap *idmap, struct inode *old_dir, struct dentry *old_dentry,
               struct inode *new_dir, struct dentry *new_dentry, unsigned int flags);
int nfs_readdir(struct file *file, struct dir_context *ctx);

struct trace_event_raw_nfs_initiate_commit {
    struct trace_entry ent;
    dev_t dev;
    u32 fhandle;
    u64 fileid;
    loff_t offset;
    u32 count;
    char __data[0];
};
struct trace_event_raw_nfs_commit_done {
    struct trace_entry ent;
    dev_t dev;
    u32 fhandle;
    u64 fileid;
    loff_t offset;
    int error;
    unsigned long stable;
    char verifier[8];
    char __data[0];
};
typedef void (*btf_trace_nfs_initiate_commit)(void *, const struct nfs_commit_data *data);
typedef void (*btf_trace_nfs_commit_done)(void *, const struct rpc_task *task,
                                          const struct nfs_commit_data *data);

/* --- ZFS --------------------------------------------------------------------------------------- */
#pragma module zfs

ssize_t zpl_iter_read(struct kiocb *kio, struct iov_iter *to);
ssize_t zpl_iter_write(struct kiocb *kio, struct iov_iter *from);
int zpl_open(struct inode *ip, struct file *filp);
int zpl_release(struct inode *ip, struct file *filp);
int zpl_fsync(struct file *filp, loff_t start, loff_t end, int datasync);
int zpl_iterate(struct file *filp, struct dir_context *ctx);
int zpl_mmap(struct file *filp, struct vm_area_struct *vma);

/* --- RDMA -------------------------------------------------------------------------------------- */
#pragma module rdma_cm

enum rdma_cm_event_type {
    RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR, RDMA_CM_EVENT_ROUTE_RESOLVED,
    RDMA_CM_EVENT_ROUTE_ERROR, RDMA_CM_EVENT_CONNECT_REQUEST, RDMA_CM_EVENT_CONNECT_RESPONSE,
    RDMA_CM_EVENT_CONNECT_ERROR, RDMA_CM_EVENT_UNREACHABLE, RDMA_CM_EVENT_REJECTED,
    RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_DISCONNECTED, RDMA_CM_EVENT_DEVICE_REMOVAL,
    RDMA_CM_EVENT_MULTICAST_JOIN, RDMA_CM_EVENT_MULTICAST_ERROR, RDMA_CM_EVENT_ADDR_CHANGE,
    RDMA_CM_EVENT_TIMEWAIT_EXIT
};
struct rdma_dev_addr {
    unsigned char src_dev_addr[32];
    unsigned char dst_dev_addr[32];
    unsigned char broadcast[32];
    unsigned short dev_type;
    int bound_dev_if;
};
struct rdma_addr {
    struct __kernel_sockaddr_storage src_addr;
    struct __kernel_sockaddr_storage dst_addr;
    struct rdma_dev_addr dev_addr;
};
struct rdma_route {
    struct rdma_addr addr;
    struct sa_path_rec *path_rec;
    int num_pri_alt_paths;
};
struct rdma_cm_id {
    struct ib_device *device;
    void *context;
    struct ib_qp *qp;
    int (*event_handler)(struct rdma_cm_id *id, struct rdma_cm_event *event);
    struct rdma_route route;
    unsigned int ps;
    unsigned int qp_type;
    u32 port_num;
    struct work_struct net_work;
};
struct rdma_cm_event {
    enum rdma_cm_event_type event;
    int status;
};
int cma_cm_event_handler(struct rdma_cm_id *id, struct rdma_cm_event *event);
int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *conn_param);
int rdma_accept(struct rdma_cm_id *id, struct rdma_conn_param *conn_param);
int rdma_disconnect(struct rdma_cm_id *id);
