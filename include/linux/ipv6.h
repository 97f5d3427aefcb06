#pragma once
#include <linux/in6.h>
#include <net/sock.h>
