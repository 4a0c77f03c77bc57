/*
 * Copying images: convert and dd. Several workers read, look for zeros and compress; they write
 * in order, unless -W allows any.
 */
#include "core/log.h"
#include "tools/img/img.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PACK_CHUNK (512u << 10)

typedef struct Copier {
    CopyJob *job;
    GMutex lock;
    GCond turned;
    uint64_t all, next;     /* bytes; the next piece starts at */
    uint64_t tickets, turn; /* pieces given out; whose turn it is to write */
    uint64_t done;
    int ret; /* first error: all stop */
} Copier;

typedef struct Piece {
    uint64_t off, len, ticket;
    bool zero;
    size_t *packed; /* lengths of its clusters; 0: as they are */
    uint8_t *data, *out;
} Piece;

/* ---- inputs, one behind the other ---- */

static const BlockFile *input_at(const CopyJob *j, uint64_t off, uint64_t *in)
{
    unsigned i = 0;
    while (i + 1 < j->n_in && off >= j->in[i].size) {
        off -= j->in[i++].size;
    }
    *in = off;
    return &j->in[i];
}

static int read_input(const CopyJob *j, uint64_t off, uint8_t *buf, uint64_t len)
{
    while (len) {
        uint64_t in;
        const BlockFile *f = input_at(j, off, &in);
        struct iovec iov = {buf, MIN(len, f->size - in)};
        int ret = f->driver->read(f->file, in, &iov, 1);
        for (size_t at = 0; ret && j->a->salvage && at < iov.iov_len; at += 512) {
            struct iovec one = {buf + at, MIN(512, iov.iov_len - at)};
            if (f->driver->read(f->file, in + at, &one, 1)) {
                memset(one.iov_base, 0, one.iov_len);
                warn_report("zeros stand for what cannot be read at offset %" PRIu64, off + at);
            }
        }
        if (ret && !j->a->salvage) {
            return ret;
        }
        buf += iov.iov_len;
        off += iov.iov_len;
        len -= iov.iov_len;
    }
    return 0;
}

/* ---- pieces ---- */

/* Lock held. Where the next data or zeros to write are; false: no more. */
static bool take(Copier *c, Piece *p)
{
    const CopyJob *j = c->job;
    uint64_t unit = j->packer ? j->cluster : 1, chunk = j->packer ? PACK_CHUNK : CHUNK;

    chunk = MAX(chunk, unit);
    while (c->next < c->all && c->ret == 0) {
        BlockExtent e;
        uint64_t in, off = c->next;
        const BlockFile *f = input_at(j, off, &in);
        c->ret = extent_of(f, in, f->size - in, &e);
        if (c->ret) {
            c->ret = j->a->salvage ? 0 : c->ret;
            e = (BlockExtent){.len = MIN(chunk, f->size - in), .data = true};
        }
        bool last = off + e.len == c->all;
        bool skip = (j->below && f->driver->backing && f->driver->backing(f->file) &&
                     (!e.present || e.depth)) ||
                    (e.zero && j->blank && !j->below && j->a->sparse);
        uint64_t whole =
            last ? e.len : (off + e.len) / unit * unit - MIN(off, (off + e.len) / unit * unit);
        if (skip && whole) {
            c->next += whole;
            c->done += whole;
            continue;
        }
        *p = (Piece){.off = off,
                     .len = j->packer ? MIN(chunk - off % chunk, c->all - off)
                                      : MIN(e.len, chunk - off % chunk),
                     .zero = e.zero && !j->packer && j->a->sparse && !skip,
                     .ticket = c->tickets++};
        if (p->zero) {
            p->len = MIN(e.len, 1u << 30);
        }
        c->next += p->len;
        return true;
    }
    return false;
}

/* The parts of @buf that are not zeros; the others are skipped or written as zeros. */
static int write_sparse(const CopyJob *j, uint64_t off, uint8_t *buf, size_t len)
{
    const BlockFile *out = j->out;
    size_t grain = MAX(j->a->sparse, 512);
    int ret = 0;

    if (!j->a->sparse) {
        struct iovec iov = {buf, len};
        return out->driver->write(out->file, off, &iov, 1);
    }
    for (size_t at = 0; at < len && ret == 0;) {
        size_t end = at;
        bool zero = is_zero(buf + at, MIN(grain, len - at));
        do {
            end += MIN(grain, len - end);
        } while (end < len && is_zero(buf + end, MIN(grain, len - end)) == zero);
        if (!zero) {
            struct iovec iov = {buf + at, end - at};
            ret = out->driver->write(out->file, off + at, &iov, 1);
        } else if (!j->blank || j->below) {
            ret = block_file_zero(out, off + at, end - at, true);
        }
        at = end;
    }
    return ret;
}

static int write_packed(const CopyJob *j, const Piece *p)
{
    const BlockFile *out = j->out;
    int ret = 0;

    for (size_t i = 0, at = 0; at < p->len && ret == 0; i++, at += j->cluster) {
        size_t n = MIN(j->cluster, p->len - at);
        if (is_zero(p->data + at, n)) {
            ret = j->blank && !j->below ? 0 : block_file_zero(out, p->off + at, n, true);
        } else if (p->packed[i]) {
            ret = j->packer->write_packed(out, p->off + at, p->out + at, p->packed[i]);
        } else {
            struct iovec iov = {p->data + at, n};
            ret = out->driver->write(out->file, p->off + at, &iov, 1);
        }
    }
    return ret;
}

static int read_piece(const CopyJob *j, Piece *p)
{
    int ret = p->zero ? 0 : read_input(j, p->off, p->data, p->len);

    if (ret || !j->packer) {
        return ret;
    }
    memset(p->data + p->len, 0, (j->cluster - p->len % j->cluster) % j->cluster);
    for (size_t i = 0, at = 0; at < p->len; i++, at += j->cluster) {
        p->packed[i] = is_zero(p->data + at, j->cluster)
                           ? 0
                           : j->packer->compress(j->out, p->data + at, j->cluster, p->out + at);
    }
    return 0;
}

static int write_piece(const CopyJob *j, const Piece *p)
{
    return p->zero     ? block_file_zero(j->out, p->off, p->len, true)
           : j->packer ? write_packed(j, p)
                       : write_sparse(j, p->off, p->data, p->len);
}

static gpointer worker(gpointer opaque)
{
    Copier *c = opaque;
    const CopyJob *j = c->job;
    size_t room = MAX(CHUNK, PACK_CHUNK) + (j->packer ? 2 * j->cluster : 0);
    g_autofree uint8_t *data = g_malloc(room), *out = j->packer ? g_malloc(room) : NULL;
    g_autofree size_t *packed = j->packer ? g_new(size_t, room / j->cluster + 2) : NULL;
    bool ordered = j->packer || !j->a->any_order;
    Piece p;

    g_mutex_lock(&c->lock);
    while (take(c, &p)) {
        g_mutex_unlock(&c->lock);
        p.data = data;
        p.out = out;
        p.packed = packed;
        int ret = read_piece(j, &p);
        g_mutex_lock(&c->lock);
        while (ordered && c->turn != p.ticket) {
            g_cond_wait(&c->turned, &c->lock);
        }
        bool stop = c->ret || ret;
        g_mutex_unlock(&c->lock);
        ret = stop ? ret : write_piece(j, &p);
        keep_rate(j->a, p.len);
        g_mutex_lock(&c->lock);
        c->turn++;
        c->ret = c->ret ? c->ret : ret;
        c->done += p.len;
        progress(j->a, MIN(c->done, c->all - 1), c->all);
        g_cond_broadcast(&c->turned);
    }
    g_mutex_unlock(&c->lock);
    return NULL;
}

int copy_images(CopyJob *job)
{
    Copier c = {.job = job};
    GThread *threads[16];
    unsigned n = job->a->workers;

    for (unsigned i = 0; i < job->n_in; i++) {
        c.all += job->in[i].size;
    }
    n = n ? n : CLAMP(g_get_num_processors() + 1, 2, 16);
    g_mutex_init(&c.lock);
    g_cond_init(&c.turned);
    for (unsigned i = 0; i < n; i++) {
        threads[i] = g_thread_new("copy", worker, &c);
    }
    for (unsigned i = 0; i < n; i++) {
        g_thread_join(threads[i]);
    }
    g_mutex_clear(&c.lock);
    g_cond_clear(&c.turned);
    if (c.ret == 0) {
        c.ret = job->out->driver->flush(job->out->file);
        progress(job->a, c.all, c.all);
    }
    return c.ret;
}

/* ---- raw to raw ---- */

/* All of one file in another, sharing its blocks where the file system can. True: done. */
static bool clone_file(const Args *a, const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_RDWR | O_CLOEXEC);
    struct stat st;
    bool ok = in >= 0 && out >= 0 && fstat(in, &st) == 0 && S_ISREG(st.st_mode) &&
              st.st_size % 512 == 0 && ioctl(out, FICLONE, in) == 0;

    for (off_t at = 0, end; !ok && a->copy_range && in >= 0 && out >= 0 && st.st_size % 512 == 0 &&
                            S_ISREG(st.st_mode);
         at = end) {
        at = lseek(in, at, SEEK_DATA);
        end = at < 0 ? -1 : lseek(in, at, SEEK_HOLE);
        if (end < 0) {
            ok = at < 0 && errno == ENXIO;
            break;
        }
        for (off_t src = at, dst = at; src < end;) {
            if (copy_file_range(in, &src, out, &dst, (size_t)(end - src), 0) <= 0) {
                end = -1;
                break;
            }
        }
        if (end < 0) {
            break;
        }
    }
    ok = ok && (!a->cache || !strcmp(a->cache, "unsafe") || fdatasync(out) == 0);
    if (in >= 0) {
        close(in);
    }
    if (out >= 0) {
        close(out);
    }
    return ok;
}

/* ---- the commands ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

typedef struct Target {
    const char *path, *format;
    ImageCreate c;
    BlockFile f;
} Target;

/* -l takes snapshot.id=X, snapshot.name=X or just a name. */
static const char *snapshot_name(const char *text)
{
    static const char *const keys[] = {"snapshot.id=", "snapshot.name="};
    for (unsigned i = 0; i < 2; i++) {
        if (g_str_has_prefix(text, keys[i])) {
            return text + strlen(keys[i]);
        }
    }
    return text;
}

static bool open_inputs(const Args *a, BlockFile *in, unsigned n, GError **err)
{
    unsigned flags;

    if (!cache_flags(a->src_cache, &flags, err)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        bool ok = open_arg(a, i, a->format, flags, &in[i], err);
        if (ok && a->snapshot && !qcow2_view_snapshot(&in[i], snapshot_name(a->snapshot), err)) {
            block_file_close(&in[i]);
            ok = false;
        }
        if (!ok) {
            while (i--) {
                block_file_close(&in[i]);
            }
            return false;
        }
    }
    return true;
}

static bool open_target(Args *a, Target *t, GError **err)
{
    unsigned flags;
    Args named = *a;

    /* As in qemu-img: what a crash leaves of a new image is of no use to anyone. */
    if (!cache_flags(a->cache ? a->cache : "unsafe", &flags, err)) {
        return false;
    }
    flags |= IMAGE_WRITE | (t->c.backing ? 0 : IMAGE_NO_BACKING);
    if (!a->no_create && !create_image(t->path, t->format, &t->c, err)) {
        return false;
    }
    named.image_opts = a->target_opts;
    return open_arg(&named, a->files->len - 1, a->target_opts ? NULL : t->format, flags, &t->f,
                    err);
}

static bool copy_to(Args *a, Target *t, const BlockFile *in, unsigned n, GError **err)
{
    const ImageFormat *format = image_format_of(&t->f);
    ImageInfo info = {0};
    CopyJob job = {.a = a, .in = in, .n_in = n, .out = &t->f};

    if (t->f.size < t->c.size) {
        return fail(err, "'%s' is smaller than what is copied to it", t->path);
    }
    if (format) {
        format->info(&t->f, &info);
    }
    if (a->compress || info.packs) {
        if (!format || !format->write_packed || (strcmp(format->name, "qcow2") && !info.packs)) {
            return fail(err, "-c: images of format %s have no compression",
                        format ? format->name : "raw");
        }
        job.packer = format;
        job.cluster = info.cluster_size;
    }
    job.blank = (!a->no_create && !is_device(t->path)) || a->is_zero;
    job.below = t->c.backing;
    int ret = copy_images(&job);
    return ret == 0 || io_error(err, t->path, ret);
}

bool cmd_convert(Args *a, GError **err)
{
    Target t = {.format = a->out_format ? a->out_format : "raw"};
    unsigned n = a->files->len ? a->files->len - 1 : 0;
    g_autofree BlockFile *in = g_new0(BlockFile, n + 1);

    if (!want_files(a, 2, 1000, "convert [-f FORMAT] [-O FORMAT] [-c] [-o OPTIONS] FILE… OUTPUT",
                    err)) {
        return false;
    }
    g_autoptr(GHashTable) options = creation_options(a, err);
    if (!options) {
        return false;
    }
    t.path = file_at(a, n);
    t.c = (ImageCreate){.options = options};
    g_autofree char *backing = image_option(&t.c, "backing_file"),
                    *backing_format = image_option(&t.c, "backing_fmt");
    t.c.backing = a->backing ? a->backing : backing;
    t.c.backing_format = a->backing_format ? a->backing_format : backing_format;
    if (t.c.backing && n > 1) {
        return fail(err, "several files do not become one image with a backing file");
    }
    if (a->is_zero && !a->no_create) {
        return fail(err, "--target-is-zero is for -n: what is made new is zero");
    }
    if (a->target_opts && !a->no_create) {
        return fail(err, "--target-image-opts needs -n: it names an image that is there");
    }
    for (unsigned i = 0; i < n; i++) {
        if (same_file(file_at(a, i), t.path)) {
            return fail(err, "'%s' and '%s' are the same file", file_at(a, i), t.path);
        }
    }
    if (!open_inputs(a, in, n, err)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        t.c.size += in[i].size;
    }
    bool ok = open_target(a, &t, err);
    if (ok) {
        bool raw = n == 1 && !strcmp(in[0].driver->name, "raw") && in[0].driver->path &&
                   in[0].driver->path(in[0].file) && !strcmp(t.f.driver->name, "raw") &&
                   !a->no_create && a->sparse && !is_device(t.path);
        ok = (raw && clone_file(a, in[0].driver->path(in[0].file), t.path)) ||
             copy_to(a, &t, in, n, err);
        block_file_close(&t.f);
    }
    for (unsigned i = 0; i < n; i++) {
        block_file_close(&in[i]);
    }
    return ok;
}

/* ---- dd ---- */

typedef struct Dd {
    const char *in, *out;
    uint64_t bs, count, skip;
    bool counted;
} Dd;

static bool dd_args(const Args *a, Dd *d, GError **err)
{
    for (unsigned i = 0; i < a->files->len; i++) {
        const char *s = file_at(a, i);
        uint64_t *n = g_str_has_prefix(s, "bs=")      ? &d->bs
                      : g_str_has_prefix(s, "count=") ? &d->count
                      : g_str_has_prefix(s, "skip=")  ? &d->skip
                                                      : NULL;
        if (n) {
            if (!image_parse_size(strchr(s, '=') + 1, n, err)) {
                return false;
            }
            d->counted |= n == &d->count;
        } else if (g_str_has_prefix(s, "if=")) {
            d->in = s + 3;
        } else if (g_str_has_prefix(s, "of=")) {
            d->out = s + 3;
        } else {
            return fail(err, "dd: '%s' is none of if=, of=, bs=, count=, skip=", s);
        }
    }
    if (!d->in || !d->out) {
        return fail(err, "expected dd [bs=N] [count=N] [skip=N] if=FILE of=FILE");
    }
    return (d->bs >= 1 && d->bs <= 1u << 30) || fail(err, "dd: bs= is not from 1 to 1G");
}

bool cmd_dd(Args *a, GError **err)
{
    Dd d = {.bs = 512};
    BlockFile in, out;
    const char *format = a->out_format ? a->out_format : "raw";

    if (!dd_args(a, &d, err)) {
        return false;
    }
    if (same_file(d.in, d.out)) {
        return fail(err, "'%s' and '%s' are the same file", d.in, d.out);
    }
    g_ptr_array_set_size(a->files, 0);
    g_ptr_array_add(a->files, (void *)d.in);
    if (!open_arg(a, 0, a->format, 0, &in, err)) {
        return false;
    }
    uint64_t from = d.skip > in.size / d.bs ? in.size : MIN(d.skip * d.bs, in.size);
    uint64_t len = in.size - from;
    if (d.counted && d.count < len / d.bs + 1) {
        len = MIN(len, d.count * d.bs);
    }
    g_autoptr(GHashTable) options = creation_options(a, err);
    ImageCreate c = {.size = len, .options = options};
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    bool ok =
        create_image(d.out, format, &c, err) && image_open(&out, d.out, format, IMAGE_WRITE, err);
    if (ok) {
        CopyJob job = {.a = a, .out = &out, .blank = !is_device(d.out)};
        int ret = 0;
        for (uint64_t at = 0; at < len && ret == 0; at += CHUNK) {
            struct iovec iov = {buf, MIN(CHUNK, len - at)};
            ret = in.driver->read(in.file, from + at, &iov, 1);
            ret = ret ? ret : write_sparse(&job, at, buf, iov.iov_len);
        }
        ret = ret ? ret : out.driver->flush(out.file);
        block_file_close(&out);
        ok = ret == 0 || io_error(err, d.out, ret);
    }
    block_file_close(&in);
    return ok;
}
