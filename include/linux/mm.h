#pragma once
#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_OFFSET 0xffff888000000000UL
#define PAGE_MASK (~(PAGE_SIZE - 1))
