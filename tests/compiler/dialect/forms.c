/// a chain
/// reads 3
GOT(task->nsproxy->uts_ns->name.sysname[0] == 'L')

/// parentheses and stars
/// reads 3
GOT((*(*task).nsproxy).uts_ns->name.sysname[0] == 'L')

/// a step at a time
/// reads 3
struct nsproxy *proxy = task->nsproxy;
struct uts_namespace *uts = proxy->uts_ns;
char first = uts->name.sysname[0];
GOT(first == 'L')

/// a macro
/// reads 3
#define PROXY(t) (t)->nsproxy
#define NAME(t) PROXY(t)->uts_ns->name
GOT(NAME(task).sysname[0] == 'L')

/// READ_ONCE
/// reads 3
GOT(READ_ONCE(READ_ONCE(task->nsproxy)->uts_ns)->name.sysname[0] == 'L')

/// container_of
/// reads 3
char *name = task->nsproxy->uts_ns->name.sysname;
struct uts_namespace *uts = container_of(name, struct uts_namespace, name.sysname);
GOT(uts->name.sysname[1] == 'i')

/// a cast from a number
/// reads 3
u64 number = bpf_get_current_task();
GOT(((struct task_struct *)number)->nsproxy->uts_ns->name.sysname[0] == 'L')

/// a cast in between, and arithmetic on a number
/// reads 3
unsigned long number = (unsigned long)task->nsproxy + 8;
void *proxy = (void *)(number - 8);
GOT(((struct nsproxy *)proxy)->uts_ns->name.sysname[0] == 'L')

/// a helper's result at once
/// reads 3
GOT(((struct task_struct *)bpf_get_current_task())->nsproxy->uts_ns->name.sysname[0] == 'L')

/// elements of an array
/// reads 6
struct uts_namespace *uts = task->nsproxy->uts_ns;
u32 i = bpf_get_prandom_u32() & 1;
GOT(uts->name.sysname[0] == 'L' && uts->name.sysname[i - i + 1] == 'i' && *uts->name.sysname == 'L'
    && 2[uts->name.sysname] == 'n')

/// an array that becomes a pointer
/// reads 5
char *name = task->nsproxy->uts_ns->name.sysname;
GOT(name[0] == 'L' && *(name + 1) == 'i' && *++name == 'i')

/// a pointer that walks
/// reads 3
char *name = task->nsproxy->uts_ns->name.sysname;
int sum = 0;
for (int i = 0; i < 5; i++)
    sum += *name++;
GOT(sum == 'L' + 'i' + 'n' + 'u' + 'x')

/// a pointer in an element of an array of its kind
/// reads 3
GOT(task[0].nsproxy[0].uts_ns[0].name.sysname[0] == 'L')

/// the address of a member is no read
/// reads 3
struct nsproxy **place = &task->nsproxy;
struct uts_namespace **next = &(*place)->uts_ns;
GOT((*next)->name.sysname[0] == 'L')

/// addresses for a helper
/// reads 4
char name[8] = {};
bpf_probe_read_kernel(name, sizeof(name), &task->nsproxy->uts_ns->name.sysname);
bpf_probe_read_kernel_str(name, 4, task->nsproxy->uts_ns->name.sysname + 1);
GOT(name[0] == 'i' && name[2] == 'u')
/// helpers 2

/// sizeof, typeof and offsetof read nothing
/// reads 0
typeof(task->nsproxy->uts_ns->name.sysname[0]) letter = 'L';
GOT(letter == 'L' && sizeof(task->comm) == 16 && offsetof(struct task_struct, comm) != 0)

/// a parameter of an inline function
/// reads 3
static inline char first(struct task_struct *t) { return t->nsproxy->uts_ns->name.sysname[0]; }
GOT(first(task) == 'L')

/// a parameter of a function that is called
/// reads 3
static __noinline int first(struct task_struct *t, int at) { return t->nsproxy->uts_ns->name.sysname[at & 7]; }
GOT(first(task, 1) == 'i')

/// a function that gives a pointer
/// reads 3
static struct nsproxy *proxy_of(struct task_struct *t) { return t->nsproxy; }
GOT(proxy_of(task)->uts_ns->name.sysname[0] == 'L')

/// a function that gets kernel memory and memory of the stack
/// reads 3
static inline int first(char *name) { return name[0]; }
char own[8] = "Linux";
GOT(first(task->nsproxy->uts_ns->name.sysname) == first(own))

/// a ternary
/// reads 3
GOT((ctx ? task : 0)->nsproxy->uts_ns->name.sysname[0] == 'L')

/// a ternary that begins with what it gives
/// reads 3
GOT((task ?: (struct task_struct *)0)->nsproxy->uts_ns->name.sysname[0] == 'L')

/// a ternary between kernel memory and the stack
/// reads 3
char own[8] = "Linux";
char *name = ctx ? task->nsproxy->uts_ns->name.sysname : own;
GOT(name[1] == 'i')

/// a comma and a statement expression
/// reads 3
GOT(({ struct nsproxy *p = (0, task->nsproxy); p->uts_ns; })->name.sysname[0] == 'L')

/// conditions are read in their order
/// reads 6
GOT(task->nsproxy && task->nsproxy->uts_ns && task->nsproxy->uts_ns->name.sysname[0] == 'L')

/// pointers kept in a map
/// reads 3
BPF_HASH(saved, u32, struct task_struct *);
u32 key = 1;
saved.update(&key, &task);
struct task_struct **found = saved.lookup(&key);
GOT(found && (*found)->nsproxy->uts_ns->name.sysname[0] == 'L')

/// pointers in structures kept in a map
/// reads 3
struct value_t { u64 when; struct task_struct *task; };
BPF_HASH(saved, u32, struct value_t);
struct value_t value = { 1, task };
u32 key = 1;
saved.update(&key, &value);
struct value_t *found = saved.lookup(&key);
GOT(found && found->when == 1 && found->task->nsproxy->uts_ns->name.sysname[0] == 'L')

/// numbers in a map that are pointers
/// reads 3
BPF_ARRAY(saved, u64, 1);
int zero = 0;
u64 number = (u64)task, *found;
saved.update(&zero, &number);
found = saved.lookup(&zero);
GOT(found && ((struct task_struct *)*found)->nsproxy->uts_ns->name.sysname[0] == 'L')

/// a structure on the stack that holds pointers
/// reads 3
struct holder_t { int number; struct task_struct *task; };
struct holder_t holder = { .task = task, .number = 5 };
struct holder_t *pointer = &holder;
GOT(pointer->number == 5 && pointer->task->nsproxy->uts_ns->name.sysname[0] == 'L')

/// an array on the stack that holds pointers
/// reads 3
struct task_struct *tasks[2] = { task, 0 };
GOT(tasks[0]->nsproxy->uts_ns->name.sysname[0] == 'L' && !tasks[1])

/// a structure copied from the kernel
/// reads 3
struct nsproxy copy = *task->nsproxy;
GOT(copy.uts_ns->name.sysname[0] == 'L')

/// a structure assigned from the kernel
/// reads 3
struct nsproxy copy;
copy = *task->nsproxy;
struct nsproxy *pointer = &copy;
GOT(pointer->uts_ns->name.sysname[0] == 'L')

/// a structure copied by a helper
/// reads 2
struct nsproxy copy;
bpf_probe_read_kernel(&copy, sizeof(copy), task->nsproxy);
GOT(copy.uts_ns->name.sysname[0] == 'L')
/// helpers 1

/// memory copied by the compiler's builtin
/// reads 3
char name[6];
__builtin_memcpy(name, task->nsproxy->uts_ns->name.sysname, 6);
GOT(name[0] == 'L' && name[4] == 'x' && name[5] == 0)

/// a pointer read by a helper
/// reads 2
struct nsproxy *proxy;
bpf_probe_read_kernel(&proxy, sizeof(proxy), &task->nsproxy);
GOT(proxy->uts_ns->name.sysname[0] == 'L')
/// helpers 1

/// a pointer stored through a pointer to the stack
/// reads 3
static inline void give(struct task_struct *t, struct nsproxy **out) { *out = t->nsproxy; }
struct nsproxy *proxy = 0;
give(task, &proxy);
GOT(proxy->uts_ns->name.sysname[0] == 'L')

/// pointers stored in a structure behind a pointer to the stack
/// reads 3
struct pair_t { struct nsproxy *proxy; char letter; };
static inline void fill(struct task_struct *t, struct pair_t *out)
{
    out->proxy = t->nsproxy;
    out->letter = 'L';
}
struct pair_t pair = {};
fill(task, &pair);
GOT(pair.proxy->uts_ns->name.sysname[0] == pair.letter)

/// what a pointer to a pointer on the stack leads to may be written
/// reads 0
struct pair_t { u64 a, b; };
struct pair_t pair = {}, *first = &pair, **second = &first;
(*second)->a = 3;
second[0]->b = 4;
GOT(first->a + pair.b == 7)

/// what a structure on the stack points to on the stack may be written
/// reads 0
struct out_t { u64 *sum; char *name; };
static inline void add(struct out_t *out, u64 n) { *out->sum += n; out->name[0] = 'x'; }
u64 sum = 1;
char name[8] = "abc";
struct out_t out = { &sum, name };
add(&out, 4);
GOT(sum == 5 && name[0] == 'x' && *out.sum == 5)

/// what a map's value is reached by a pointer that is stored may be written
/// reads 0
BPF_ARRAY(cells, u64, 2);
struct state_t { u64 *cell; };
int zero = 0;
struct state_t state = { cells.lookup(&zero) };
if (state.cell)
    *state.cell = 9;
u64 *again = cells.lookup(&zero);
GOT(again && *again == 9)

/// a pointer that is now this, now that
/// reads 4
char own[8] = "Linux";
char *name = own;
if (ctx)
    name = task->nsproxy->uts_ns->name.sysname;
char a = name[0];
name = own;
GOT(a == name[0])

/// a loop over a list
/// reads 2
struct task_struct *t = task;
for (int i = 0; i < 3; i++)
    t = t->real_parent;
GOT(t != 0 && t->real_parent != 0)

/// bit fields
/// reads 4
struct bits_t { u8 low : 4; u8 high : 4; };
struct bits_t *bits = (void *)task->nsproxy->uts_ns->name.sysname;
GOT(bits->low == 12 && bits->high == 4)

/// numbers of all sizes
/// reads 6
char *name = task->nsproxy->uts_ns->name.sysname;
GOT(*(u16 *)name == 0x694c && *(u32 *)name == 0x756e694c && *(u64 *)name == 0x78756e694cULL
    && *(signed char *)(name + 5) == 0)

/// a union, members without a name
/// reads 3
union either_t { struct { char first, second; }; u16 both; };
union either_t *either = (void *)task->nsproxy->uts_ns->name.sysname;
GOT(either->second == 'i')

/// operators
/// reads 6
char *name = task->nsproxy->uts_ns->name.sysname;
int sum = 1;
sum += name[0];
sum |= !name[1];
sum ^= ~name[2] & 0;
sum = sum + (name[3] << 1);
GOT(sum == 1 + 'L' + 'u' * 2)

/// what selects
/// reads 4
char *name = task->nsproxy->uts_ns->name.sysname;
int answer = 0;
switch (name[0]) {
case 'L':
    answer = name[1] == 'i' ? 1 : 0;
}
GOT(answer)

/// a key and a value of a table
/// reads 6
BPF_HASH(counts, char, u64);
char key = task->nsproxy->uts_ns->name.sysname[1];
counts.increment(task->nsproxy->uts_ns->name.sysname[1], 3);
u64 *found = counts.lookup(&key);
GOT(found && *found == 3)

/// an argument of printing
/// reads 3
GOT(bpf_trace_printk("%c\n", task->nsproxy->uts_ns->name.sysname[0]) > 0)

/// a global that holds a pointer
/// reads 3
static struct task_struct *kept;
kept = task;
GOT(kept->nsproxy->uts_ns->name.sysname[0] == 'L')

/// a compound literal
/// reads 3
struct holder_t { struct task_struct *task; };
struct holder_t *holder = &(struct holder_t){ task };
GOT(holder->task->nsproxy->uts_ns->name.sysname[0] == 'L')

/// a type of the text's own over kernel memory
/// reads 3
struct my_name { char text[65]; };
struct my_name *name = (struct my_name *)&task->nsproxy->uts_ns->name;
GOT(name->text[0] == 'L')

/// the context is read as it is
/// reads 0
GOT(ctx->args[0] + ctx->args[1] == 0)

/// the types of a table's keys and values
/// reads 0
struct key_t { u32 a; u64 b; };
BPF_HASH(table, struct key_t, u16);
typeof(table.key) key = { 1, 2 };
typeof(table.leaf) leaf = 7, *found;
table.update(&key, &leaf);
found = table.lookup(&key);
typeof(*table.lookup(&key)) copy = found ? *found : 0;
typeof(table.lookup(&key)) again = found;
GOT(copy == 7 && again == found && sizeof(table.key) == 16 && sizeof(table.leaf) == 2)

/// pointers to packets and to kernel memory in one structure
/// reads 3
struct both_t { char *own; struct task_struct *task; };
char own[2] = "x";
struct both_t both = { own, task };
both.own[0] = 'y';
GOT(both.task->nsproxy->uts_ns->name.sysname[0] == 'L' && own[0] == 'y')

/// a pointer to a map's value or to the stack
/// reads 3
struct holder_t { struct task_struct *task; };
BPF_HASH(saved, u32, struct holder_t);
u32 key = 1;
struct holder_t mine = { task }, *holder;
saved.update(&key, &mine);
holder = saved.lookup(&key);
if (!holder)
    holder = &mine;
GOT(holder->task->nsproxy->uts_ns->name.sysname[0] == 'L')

/// lists and functions of kernel headers
/// reads 9
#include <linux/sched.h>
#include <linux/list.h>
struct task_struct *parent = rcu_dereference(task->group_leader->real_parent);
struct task_struct *child = list_first_entry(&parent->children, struct task_struct, sibling);
struct task_struct *next = list_next_entry(task->group_leader, tasks);
GOT((!parent->children.next || list_empty(&parent->children) || child->tgid) && next->tgid >= 0)
