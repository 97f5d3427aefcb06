#pragma once
#include <net/sock.h>
