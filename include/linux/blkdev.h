#pragma once
#include <linux/blk_types.h>
#include <linux/fs.h>
#include <linux/sched.h>
#define DISK_NAME_LEN 32
#define SECTOR_SHIFT 9
#define SECTOR_SIZE (1 << SECTOR_SHIFT)
