/*
 * Hostile images of one format: the input is the file. It is opened read-only, for writing and for
 * repair; checked, read, written and discarded.
 */
#include "block/format.h"
#include "block/sparse.h"
#include "tests/block/memory-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void use(const ImageFormat *format, BlockFile *f, bool write)
{
    static uint8_t buf[70000];
    uint64_t size = f->size;
    ImageCheck r;
    ImageInfo info;
    BlockExtent e;

    for (unsigned i = 0; i < 8 && size >= sizeof(buf); i++) {
        uint64_t off = (size - sizeof(buf)) / 8 * i & ~511ull;
        struct iovec iov = {buf, sizeof(buf)};
        f->driver->read(f->file, off, &iov, 1);
        f->driver->extent(f->file, off, size - off, &e);
        if (write) {
            iov.iov_len = i & 1 ? 512 : 66048;
            f->driver->write(f->file, off, &iov, 1);
            f->driver->write_zeroes(f->file, off, iov.iov_len, i & 2);
            f->driver->discard(f->file, off, 512);
        }
    }
    format->info(f, &info);
    if (size < 1ull << 32) { /* checking more takes longer than a fuzzer should */
        format->check(f, 0, &r, NULL, NULL);
    }
    if (write) {
        f->driver->flush(f->file);
        if (f->driver->resize) {
            f->driver->resize(f, size + 100000, NULL);
        }
    }
}

static int fuzz(const ImageFormat *format, const uint8_t *data, size_t len)
{
    static const unsigned modes[] = {0, IMAGE_WRITE, IMAGE_WRITE | IMAGE_REPAIR};

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        MemoryImage m = {.data = g_memdup2(data, len), .len = len};
        BlockFile f = memory_image_file(&m), image;
        ImageCheck r;
        /* What is in other files is not the fuzzer's business. */
        if (format->open(&image, &f, "/nonexistent/fuzz", modes[i] | IMAGE_NO_BACKING, NULL,
                         NULL)) {
            if (modes[i] & IMAGE_REPAIR) {
                if (image.size < 1ull << 32) {
                    format->check(&image, QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS, &r, NULL, NULL);
                }
            } else {
                use(format, &image, modes[i] & IMAGE_WRITE);
            }
            image.driver->close(image.file);
        }
        g_free(m.data);
    }
    return 0;
}
