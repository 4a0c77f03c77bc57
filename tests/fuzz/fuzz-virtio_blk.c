/* virtio-blk: hostile rings, and requests that are nearly right. */
#include "block/drive.h"
#include "fuzz-virtio.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static BlockDev *image(FuzzVirtio *f)
{
    DriveSpec *d = f->io.m->cfg.drives->len ? f->io.m->cfg.drives->pdata[0] : NULL;

    return d ? d->medium : NULL;
}

static void step(void *opaque, uint8_t what, uint32_t arg)
{
    static const uint32_t types[8] = {0, 1, 4, 8, 11, 13, 2, 0x80000000};
    FuzzVirtio *f = opaque;
    MemSpace *m = f->io.m->memory;
    unsigned n = (what >> 3) & 1, at = arg & 7;

    if (fv_step(f, what, arg)) {
        return;
    }
    if ((what & 7) == 7) {
        if (image(f)) {
            block_drain(image(f));
        }
        return;
    }
    /* A request: header, data or a segment, status. */
    uint32_t type = types[arg >> 3 & 7];
    mem_store(m, FV_DATA, type, 4);
    mem_store(m, FV_DATA + 8, arg >> 6, 8);
    mem_store(m, FV_DATA + 0x20, arg >> 6, 8);
    mem_store(m, FV_DATA + 0x28, what >> 4, 4);
    mem_store(m, FV_DATA + 0x2c, arg & 1, 4);
    bool in = type == 0 || type == 8, seg = type == 11 || type == 13;
    fv_desc(f, n, at, FV_DATA, 16, 1, (uint16_t)(at + 1));
    fv_desc(f, n, at + 1, seg ? FV_DATA + 0x20 : FV_DATA + 0x1000, seg ? 16 : 512 * (what >> 4),
            in ? 3 : 1, (uint16_t)(at + 2));
    fv_desc(f, n, at + 2, FV_DATA + 0x30, 1, 2, 0);
    fv_avail(f, n, (uint16_t)at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzVirtio f;
    int fd = memfd_create("disk", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, 65536) < 0) {
        abort();
    }
    fv_open(&f, size && data[0] & 1, 2);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    DriveSpec *d = drive_new(path, DRIVE_IF_NONE, -1, false);
    d->id = g_strdup("d");
    d->format = g_strdup("raw");
    GPtrArray *drives = g_ptr_array_new_with_free_func((GDestroyNotify)drive_free);
    g_ptr_array_add(drives, d);
    f.io.m->cfg.drives = drives;
    Device *dev = device_new(device_type_find("virtio-blk-device"), f.io.m);
    device_set(dev, "drive", "d", NULL);
    device_set(dev, "num-queues", "2", NULL);
    GError *err = NULL;
    if (!device_realize(dev, &virtio_mmio_bus(f.mmio)->bus, &err)) {
        abort();
    }
    fv_start(&f, UINT32_MAX, true);
    f.io.extra = step;
    fuzz_run(&f.io, data, size);
    fv_close(&f);
    g_ptr_array_free(drives, TRUE);
    close(fd);
    return 0;
}
