/* DMA controllers with a device on one channel of each. */
#include "fuzz-isa.h"
#include "hw/dma/i8237.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Dev {
    I8237 *dma;
    unsigned chan, left;
} Dev;

static size_t transfer(void *opaque, uint8_t *buf, size_t len, bool from_mem)
{
    Dev *d = opaque;
    size_t n = MIN(len, d->left);

    if (!from_mem) {
        memset(buf, 0x5a, n);
    }
    d->left -= n;
    if (!d->left) {
        i8237_dreq(d->dma, d->chan, false);
    }
    return n;
}

static void tc(void *opaque)
{
    ((Dev *)opaque)->left = 0;
}

static const I8237Port port = {.transfer = transfer, .tc = tc};

static void request(void *opaque, uint8_t what, uint32_t arg)
{
    Dev *d = (Dev *)opaque + (what & 1);

    d->left = arg;
    i8237_dreq(d->dma, d->chan, what & 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIsa f;

    fuzz_isa_open(&f);
    Dev devs[2] = {{.chan = 2}, {.chan = 5}};
    for (unsigned i = 0; i < 2; i++) {
        devs[i].dma = i ? f.isa.dma : i8237_new(&f.isa, NULL);
        i8237_attach(devs[i].dma, devs[i].chan, &port, &devs[i]);
    }
    f.io.ports[0] = (FuzzRange){0x00, 16};
    f.io.ports[1] = (FuzzRange){0xc0, 32};
    f.io.ports[2] = (FuzzRange){0x80, 16};
    f.io.extra = request;
    f.io.opaque = devs;
    fuzz_run(&f.io, data, size);
    fuzz_isa_close(&f);
    return 0;
}
