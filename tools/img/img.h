/* Parts of rhea-img: arguments, opening and creating images, output. */
#ifndef RHEA_TOOLS_IMG_H
#define RHEA_TOOLS_IMG_H

#include "block/format.h"
#include <inttypes.h>
#include <jansson.h>

#define CHUNK (2u << 20)

typedef struct Args {
    const char *cmd, *format, *out_format, *backing, *backing_format, *repair, *mode_arg;
    const char *cache, *src_cache, *prealloc, *snapshot;
    GPtrArray *options; /* of -o */
    GPtrArray *files;
    bool json, progress, compress, unlocked, quiet, shrink, unsafe, image_opts, chain, no_create,
        any_order, strict, keep, is_zero, salvage, copy_range, target_opts, write, native,
        have_rate;
    char mode; /* of snapshot: l, c, a, d */
    uint64_t sparse, start, length, size, rate, count, depth, step, flush_every, pattern, offset,
        buffer;
    unsigned workers;
    int64_t began; /* monotonic µs, for the rate */
} Args;

/* ---- args.c ---- */
bool parse_args(Args *a, int argc, char **argv, GError **err);

/* ---- common.c ---- */
const char *file_at(const Args *a, unsigned i);
bool want_files(const Args *a, unsigned min, unsigned max, const char *what, GError **err);
bool io_error(GError **err, const char *path, int ret);
char *human_size(uint64_t n); /* caller frees */
void print_json(json_t *j);   /* takes @j */
bool is_device(const char *path);
bool is_zero(const uint8_t *p, size_t n);
/* IMAGE_* of -U and a cache mode; false: no such mode. */
bool cache_flags(const char *cache, unsigned *flags, GError **err);
/* Opens file @i of the arguments, as --image-opts and -f want it. @flags: besides -U. */
bool open_arg(const Args *a, unsigned i, const char *format, unsigned flags, BlockFile *f,
              GError **err);
/* What @f has at @off; without extent() all is data. */
int extent_of(const BlockFile *f, uint64_t off, uint64_t len, BlockExtent *e);
/* "key=value,…" of all -o, ",," is a comma; NULL: an error. */
GHashTable *creation_options(const Args *a, GError **err);
/* Makes an image and leaves it closed. Takes preallocation=, backing_file= … out of c->options,
 * and refuses what is left. */
bool create_image(const char *path, const char *format, ImageCreate *c, GError **err);
/* The bar; @done of @all bytes. */
void progress(const Args *a, uint64_t done, uint64_t all);
bool resize_image(BlockFile *f, const char *path, uint64_t size, GError **err);
/* Sleeps as long as -r wants after @bytes more. */
void keep_rate(const Args *a, uint64_t bytes);

/* ---- convert.c ---- */
typedef struct CopyJob {
    const Args *a;
    const BlockFile *in;
    unsigned n_in;
    const BlockFile *out;
    const ImageFormat *packer; /* compresses; NULL: plain */
    size_t cluster;            /* of @packer */
    bool blank;                /* @out reads as zeros */
    bool below;                /* @out has a backing file like the input's */
} CopyJob;
/* All of the inputs, one behind the other. 0 or a negative errno. */
int copy_images(CopyJob *job);

/* ---- commands ---- */
bool cmd_create(Args *a, GError **err);
bool cmd_measure(Args *a, GError **err);
bool cmd_amend(Args *a, GError **err);
bool cmd_info(Args *a, GError **err);
bool cmd_check(Args *a, int *status, GError **err);
bool cmd_map(Args *a, GError **err);
bool cmd_convert(Args *a, GError **err);
bool cmd_dd(Args *a, GError **err);
bool cmd_resize(Args *a, GError **err);
bool cmd_compare(Args *a, int *status, GError **err);
bool cmd_snapshot(Args *a, GError **err);
bool cmd_commit(Args *a, GError **err);
bool cmd_rebase(Args *a, GError **err);
bool cmd_bench(Args *a, GError **err);

void print_snapshots(const Qcow2Info *q);

#endif
