#pragma once
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched.h>
