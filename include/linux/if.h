#pragma once
#define IFNAMSIZ 16
