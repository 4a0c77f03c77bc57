/*
 * Hostile qcow2 images: the input is the file. It is opened read-only, for writing and for repair;
 * checked, read, written, discarded, resized, and snapshots are made and deleted.
 */
#include "block/qcow2.h"
#include "core/log.h"
#include "tests/block/memory-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void use(BlockFile *f, bool write)
{
    static uint8_t buf[70000];
    uint64_t size = f->size;
    Qcow2Check r;
    BlockExtent e;

    for (unsigned i = 0; i < 8 && size >= sizeof(buf); i++) {
        uint64_t off = (size - sizeof(buf)) / 8 * i & ~511ull;
        struct iovec iov = {buf, sizeof(buf)};
        f->driver->read(f->file, off, &iov, 1);
        f->driver->extent(f->file, off, size - off, &e);
        if (write) {
            iov.iov_len = i & 1 ? 512 : 66048;
            f->driver->write(f->file, off, &iov, 1);
            f->driver->discard(f->file, off + 131072 > size ? 0 : off, i & 2 ? 131072 : 512);
        }
    }
    qcow2_check(f, 0, &r, NULL, NULL);
    if (write) {
        f->driver->flush(f->file);
        qcow2_snapshot_create(f, "f", NULL);
        qcow2_resize(f, size + 100000, NULL);
        qcow2_snapshot_delete(f, "f", NULL);
        qcow2_resize(f, 1000, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const unsigned modes[] = {0, IMAGE_WRITE, IMAGE_WRITE | IMAGE_REPAIR};

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        MemoryImage m = {.data = g_memdup2(data, len), .len = len};
        BlockFile f = memory_image_file(&m), image;
        Qcow2Check r;
        if (qcow2_open(&image, &f, "fuzz", modes[i] | IMAGE_NO_BACKING, NULL, NULL)) {
            if (modes[i] & IMAGE_REPAIR) {
                qcow2_check(&image, QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS, &r, NULL, NULL);
            }
            use(&image, modes[i] & IMAGE_WRITE);
            image.driver->close(image.file);
        }
        g_free(m.data);
    }
    return 0;
}
