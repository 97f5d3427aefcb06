#pragma once
#include <linux/dcache.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/kdev_t.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/stat.h>

#define READ 0
#define WRITE 1
#define FMODE_READ (1 << 0)
#define FMODE_WRITE (1 << 1)
#define FMODE_LSEEK (1 << 2)
#define FMODE_PREAD (1 << 3)
#define FMODE_PWRITE (1 << 4)
#define FMODE_EXEC (1 << 5)
#define FMODE_CREATED (1 << 20)
#define FMODE_OPENED (1 << 19)

static __always_inline struct inode *file_inode(const struct file *file)
{
    return file->f_inode;
}
