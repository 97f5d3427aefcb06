#pragma once
#include <linux/bits.h>
