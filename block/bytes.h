/* Numbers in headers of images, of either byte order, not aligned. */
#ifndef RHEA_BLOCK_BYTES_H
#define RHEA_BLOCK_BYTES_H

#include <glib.h>
#include <stdint.h>
#include <string.h>

#define BYTES_ACCESS(bits, end, END)                                                               \
    static inline uint##bits##_t get_##end##bits(const void *p)                                    \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof(v));                                                                  \
        return GUINT##bits##_FROM_##END(v);                                                        \
    }                                                                                              \
    static inline void put_##end##bits(void *p, uint##bits##_t v)                                  \
    {                                                                                              \
        v = GUINT##bits##_TO_##END(v);                                                             \
        memcpy(p, &v, sizeof(v));                                                                  \
    }

BYTES_ACCESS(16, le, LE)
BYTES_ACCESS(32, le, LE)
BYTES_ACCESS(64, le, LE)
BYTES_ACCESS(16, be, BE)
BYTES_ACCESS(32, be, BE)
BYTES_ACCESS(64, be, BE)

#endif
