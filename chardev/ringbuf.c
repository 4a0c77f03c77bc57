/* Back ends without a host side: null, ring buffers, and the text console until displays exist. */
#include "chardev/backend.h"
#include "core/log.h"
#include <string.h>

typedef struct Ring {
    Chardev chr;
    uint8_t *data;
    size_t size, head, used; /* size is a power of two; head: next byte to read */
} Ring;

static bool null_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    chr->open = true;
    return true;
}

static size_t null_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return len;
}

const ChardevType chardev_null_type = {
    .name = "null",
    .size = sizeof(Chardev),
    .open = null_open,
    .write = null_write,
};

static bool ring_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    Ring *r = (Ring *)chr;
    uint64_t size;

    if (!chardev_opt_uint(o, "size", 65536, 1 << 30, &size, err)) {
        return false;
    }
    if (!size || (size & (size - 1))) {
        return fail(err, "the size of ring buffer '%s' must be a power of two", chr->label);
    }
    r->data = g_malloc(size);
    r->size = size;
    chr->open = true;
    return true;
}

static bool vc_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    Ring *r = (Ring *)chr;

    r->size = 65536;
    r->data = g_malloc(r->size);
    chr->open = true;
    return true;
}

static void ring_close(Chardev *chr)
{
    Ring *r = (Ring *)chr;

    g_free(r->data);
    r->data = NULL;
    r->size = r->used = 0;
}

/* The newest bytes stay. */
static size_t ring_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    Ring *r = (Ring *)chr;

    for (size_t i = 0; i < len && r->size; i++) {
        r->data[(r->head + r->used) & (r->size - 1)] = buf[i];
        if (r->used < r->size) {
            r->used++;
        } else {
            r->head = (r->head + 1) & (r->size - 1);
        }
    }
    return len;
}

ssize_t chardev_ringbuf_read(Chardev *chr, uint8_t *buf, size_t len)
{
    Ring *r = (Ring *)chr;

    if (chr->type != &chardev_ringbuf_type && chr->type != &chardev_vc_type) {
        return -1;
    }
    len = MIN(len, r->used);
    for (size_t i = 0; i < len; i++) {
        buf[i] = r->data[r->head];
        r->head = (r->head + 1) & (r->size - 1);
    }
    r->used -= len;
    return len;
}

ssize_t chardev_ringbuf_inject(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (chr->type != &chardev_ringbuf_type && chr->type != &chardev_vc_type &&
        chr->type != &chardev_null_type) {
        return -1;
    }
    size_t done = 0;
    while (done < len) {
        size_t n = MIN(chardev_be_can_receive(chr), len - done);
        if (!n) {
            break;
        }
        chardev_be_receive(chr, buf + done, n);
        done += n;
    }
    return done;
}

static const char *const ring_opts[] = {"size", NULL};
const ChardevType chardev_ringbuf_type = {
    .name = "ringbuf",
    .alias = "memory",
    .opts = ring_opts,
    .size = sizeof(Ring),
    .open = ring_open,
    .close = ring_close,
    .write = ring_write,
};

static const char *const vc_opts[] = {"width", "height", "cols", "rows", NULL};
const ChardevType chardev_vc_type = {
    .name = "vc",
    .opts = vc_opts,
    .size = sizeof(Ring),
    .open = vc_open,
    .close = ring_close,
    .write = ring_write,
};
