#pragma once
#define DNAME_INLINE_WORDS 5
#define DNAME_INLINE_LEN (DNAME_INLINE_WORDS * sizeof(unsigned long))
