#pragma once
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/sched.h>
