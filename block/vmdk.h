/* Parts of vmdk images, among vmdk*.c. */
#ifndef RHEA_BLOCK_VMDK_H
#define RHEA_BLOCK_VMDK_H

#include "block/format.h"

#define VMDK_NO_PARENT 0xffffffffu
#define VMDK_MAX_DESCRIPTOR (1u << 20)

/* The header of a sparse extent, and its descriptor's place (vmdk-sparse.c). */
typedef struct VmdkHeader {
    uint32_t version, flags;
    uint64_t capacity, grain, descriptor, descriptor_len; /* sectors */
    uint64_t rgd, gd, overhead;
    uint32_t gtes;
    uint16_t compression;
} VmdkHeader;

enum {
    VMDK_REDUNDANT = 1 << 1,
    VMDK_ZEROED = 1 << 2,
    VMDK_PACKED = 1 << 16,
    VMDK_MARKERS = 1 << 17
};

#define VMDK_HEADER 512u
#define VMDK_GTES 512u
#define VMDK_GT_BYTES (VMDK_GTES * 4)
#define VMDK_GD_AT_END UINT64_MAX

void vmdk_put_header(uint8_t *raw, const VmdkHeader *h);
/* False: it is no header of a sparse extent. */
bool vmdk_get_header(const uint8_t *raw, VmdkHeader *h);

/* Opens a sparse extent over @file, which it takes when it succeeds. @backing: a name, or NULL. */
bool vmdk_sparse_open(BlockFile *out, const BlockFile *file, const char *path, const char *backing,
                      unsigned flags, GSList *chain, GError **err);
int vmdk_sparse_check(const BlockFile *f, unsigned fix, ImageCheck *res,
                      void (*say)(void *opaque, const char *line), void *opaque);
/* Closes the extent, but not the file below. */
void vmdk_sparse_release(BlockFile *f);
uint64_t vmdk_sparse_grain(const BlockFile *f); /* bytes */
bool vmdk_sparse_packed(const BlockFile *f);
size_t vmdk_sparse_compress(const BlockFile *f, const uint8_t *data, size_t len, uint8_t *out);
int vmdk_sparse_write_packed(const BlockFile *f, uint64_t off, const uint8_t *packed, size_t len);

/* What `info` shows (vmdk.c); strings are the image's. */
typedef struct VmdkExtentInfo {
    uint64_t size, cluster_size; /* bytes */
    const char *path, *format;
    bool packed;
} VmdkExtentInfo;
bool vmdk_extent_info(const BlockFile *f, unsigned i, VmdkExtentInfo *x); /* false: no more */
uint32_t vmdk_cid(const BlockFile *f);
uint32_t vmdk_parent_cid(const BlockFile *f);
const char *vmdk_type(const BlockFile *f);
uint64_t vmdk_other_files(const BlockFile *f); /* bytes that extents of their own take */

/* vmdk-create.c */
bool vmdk_create(const BlockFile *file, const char *path, const ImageCreate *c, GError **err);

#endif
