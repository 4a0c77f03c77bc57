/* The gdb stub. The input is text in which a line is a packet; checksums are put on. */
#include "system/gdbstub.c"

#include "../unit/fake-target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void packet(Chardev *c, const char *body, size_t len)
{
    GByteArray *a = g_byte_array_new();
    uint8_t sum = 0;
    char tail[4];

    for (size_t i = 0; i < len; i++) {
        sum += (uint8_t)body[i];
    }
    g_snprintf(tail, sizeof(tail), "#%02x", sum);
    g_byte_array_append(a, (const uint8_t *)"$", 1);
    g_byte_array_append(a, (const uint8_t *)body, len);
    g_byte_array_append(a, (const uint8_t *)tail, 3);
    chardev_ringbuf_inject(c, a->data, a->len);
    g_byte_array_unref(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MemRegion ram;

    if (size > 4000) {
        return 0;
    }
    machine_lock();
    Machine *m = fake_machine(&ram, 2);
    Chardev *c = chardev_new_from_opts("ringbuf,id=g,size=4096", NULL);
    gdbstub_start(m, "chardev:g", NULL);
    const char *p = (const char *)data, *end = p + size;
    while (p < end) {
        const char *nl = memchr(p, '\n', end - p);
        size_t n = (nl ? nl : end) - p;

        if (n && p[0] == '!') { /* raw bytes */
            chardev_ringbuf_inject(c, (const uint8_t *)p + 1, n - 1);
        } else if (n < 5 || memcmp(p, "qRcmd", 5)) {
            packet(c, p, n);
        }
        p += n + 1;
    }
    gdbstub_cleanup();
    chardev_cleanup();
    mem_region_destroy(&ram);
    machine_free(m);
    machine_unlock();
    return 0;
}
