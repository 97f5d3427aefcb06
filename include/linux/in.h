#pragma once
#include <linux/socket.h>
#define INADDR_ANY ((unsigned long int)0x00000000)
#define INADDR_LOOPBACK 0x7f000001
