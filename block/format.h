/*
 * Image formats by name: opening, creating, checking. A new format is a line in formats.c.
 */
#ifndef RHEA_BLOCK_FORMAT_H
#define RHEA_BLOCK_FORMAT_H

#include "block/driver.h"
#include "block/qcow2.h"

typedef Qcow2Check ImageCheck;

/* Creation options, "key" → "value"; a format removes what it knows. */
typedef struct ImageCreate {
    uint64_t size; /* bytes */
    GHashTable *options;
    const char *backing, *backing_format; /* NULL: none */
} ImageCreate;

/* What `info` shows of an image, beyond size and names. */
typedef struct ImageInfo {
    uint64_t cluster_size; /* 0: none */
    bool dirty;
    bool packs;                           /* written by convert compressed, without -c, too */
    const char *backing, *backing_format; /* the image's; NULL: none */
} ImageInfo;

typedef struct ImageFormat {
    const char *name;
    /* Takes @file when it succeeds. @chain: paths of the images above, for loops. */
    bool (*open)(BlockFile *out, const BlockFile *file, const char *path, unsigned flags,
                 GSList *chain, GError **err);
    /* Writes an empty image over @file, which must be empty. NULL: cannot be made. */
    bool (*create)(const BlockFile *file, const char *path, const ImageCreate *c, GError **err);
    /* As qcow2_check(). NULL: nothing to check. */
    int (*check)(const BlockFile *f, unsigned fix, ImageCheck *res,
                 void (*say)(void *opaque, const char *line), void *opaque);
    void (*info)(const BlockFile *f, ImageInfo *info);
    /* Compressed length of a cluster in @out of the same length; 0: it does not get smaller, or
     * images of this kind are not compressed. Any thread. */
    size_t (*compress)(const BlockFile *f, const uint8_t *data, size_t len, uint8_t *out);
    /* Stores what compress() made at @off, in ascending order, over nothing. NULL: cannot. */
    int (*write_packed)(const BlockFile *f, uint64_t off, const uint8_t *packed, size_t len);
    /* Names another backing file; NULL: cannot. */
    bool (*set_backing)(const BlockFile *f, const char *name, const char *format, GError **err);
} ImageFormat;

/* NULL: unknown. "raw" is not among them. */
const ImageFormat *image_format(const char *name);
/* All, until NULL. */
const ImageFormat *image_format_nth(unsigned i);
/* The format that opened @f; NULL: raw. */
const ImageFormat *image_format_of(const BlockFile *f);

/* "512", "64k", "10G" → bytes. */
bool image_parse_size(const char *text, uint64_t *size, GError **err);
/* Options of ImageCreate: true and *@out stays as it is if there is none. The option is removed. */
bool image_option_size(const ImageCreate *c, const char *key, uint64_t *out, GError **err);
bool image_option_bool(const ImageCreate *c, const char *key, bool *out, GError **err);
/* Copied; NULL: none. */
char *image_option(const ImageCreate *c, const char *key);

/* The formats (vdi.c, vpc.c, qed.c, vmdk.c). */
extern const ImageFormat format_vdi, format_vpc, format_qed, format_vmdk;

#endif
