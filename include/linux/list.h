#pragma once
// Lists in kernel memory: each step is a read.
#define list_entry(pointer, type, member) container_of(pointer, type, member)
#define list_first_entry(head, type, member) list_entry((head)->next, type, member)
#define list_last_entry(head, type, member) list_entry((head)->prev, type, member)
#define list_next_entry(p, member) list_entry((p)->member.next, typeof(*(p)), member)
#define list_prev_entry(p, member) list_entry((p)->member.prev, typeof(*(p)), member)
#define list_empty(head) ((head)->next == (head))
#define hlist_entry(pointer, type, member) container_of(pointer, type, member)
#define hlist_empty(head) (!(head)->first)
