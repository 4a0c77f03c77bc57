/*
 * SiFive test finisher: the write of 5555h powers off, 7777h resets, code << 16 | 3333h ends with a
 * failure code (freedom-e-sdk; Linux Documentation/devicetree/bindings/…/syscon-poweroff.yaml).
 */
#include "hw/misc/sifive_test.h"
#include "core/log.h"

enum { FINISH_FAIL = 0x3333, FINISH_PASS = 0x5555, FINISH_RESET = 0x7777 };

typedef struct SifiveTest {
    Device dev;
    MemRegion mmio;
} SifiveTest;

static uint64_t test_read(void *opaque, uint64_t off, unsigned size)
{
    return 0;
}

static void test_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    SifiveTest *s = opaque;
    Machine *m = s->dev.machine;

    if (off) {
        return;
    }
    switch (val & 0xffff) {
    case FINISH_FAIL:
        machine_request_exit(m, (int)(val >> 16 & 0xff));
        break;
    case FINISH_PASS:
        machine_request_shutdown(m, SHUTDOWN_GUEST_SHUTDOWN);
        break;
    case FINISH_RESET:
        machine_request_reset(m, SHUTDOWN_GUEST_RESET);
        break;
    default:
        guest_error("sifive-test: %llx means nothing", (unsigned long long)val);
    }
}

static const MemOps test_ops = {
    .read = test_read, .write = test_write, .impl_min = 2, .impl_max = 4, .valid_min = 2};

static void test_reset(Device *dev)
{
}

static bool test_realize(Device *dev, GError **err)
{
    SifiveTest *s = (SifiveTest *)dev;

    mem_region_init_io(&s->mmio, "riscv.sifive.test", &test_ops, s, 0x1000);
    return true;
}

static void test_unrealize(Device *dev)
{
    mem_region_destroy(&((SifiveTest *)dev)->mmio);
}

const DeviceType sifive_test_type = {
    .name = "riscv.sifive.test",
    .desc = "test finisher: power off and reset",
    .size = sizeof(SifiveTest),
    .realize = test_realize,
    .unrealize = test_unrealize,
    .reset = test_reset,
};

bool sifive_test_new(Machine *m, MemRegion *parent, uint64_t base, GError **err)
{
    SifiveTest *s = (SifiveTest *)device_new(&sifive_test_type, m);

    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return false;
    }
    mem_region_add(parent, &s->mmio, base, 0);
    return true;
}
