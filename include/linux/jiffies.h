#pragma once
#include <linux/time64.h>
#define HZ 250
#define MAX_JIFFY_OFFSET ((LONG_MAX >> 1) - 1)
#define jiffies_to_msecs(j) ((unsigned int)((j) * (MSEC_PER_SEC / HZ)))
#define jiffies_to_usecs(j) ((unsigned int)((j) * (USEC_PER_SEC / HZ)))
