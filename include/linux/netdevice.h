#pragma once
#include <linux/skbuff.h>
