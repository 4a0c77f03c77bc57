/* Deflate for clusters of images, by ISA-L where it is there, which is about ten times as fast as
 * zlib for 8 % more bytes; else by zlib. */
#ifndef RHEA_BLOCK_DEFLATE_H
#define RHEA_BLOCK_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One stream of @len bytes in @out; @window: log2 of how far back it may refer, 9 to 15; @zlib:
 * with the header and checksum of RFC 1950, else raw. The bytes used; 0: more than @room, or no
 * memory. Any thread. */
size_t block_deflate(const uint8_t *data, size_t len, uint8_t *out, size_t room, unsigned window,
                     bool zlib);

#endif
