#pragma once
#include <linux/if.h>
#include <linux/skbuff.h>
