/*
 * Every device type that can be realized without its board: reset → save → load → dump gives the
 * same state, streams that end early or have broken bytes are refused or harmless, and nothing is
 * left on the machine afterwards. Chips that need wiring of their board (clocks, other chips) do
 * this in their own tests with rig_roundtrip(). Each type runs in a process of its own.
 */
#include "harness.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci.h"
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GOOD, NEEDS_BOARD = 77, BAD = 1 };

static bool realize(Device *dev, Rig *r, IsaBus *isa, PciBus *pci, GError **err)
{
    const char *bus = dev->type->bus;

    if (!bus) {
        return device_realize(dev, NULL, err);
    }
    if (!strcmp(bus, "ISA")) {
        return device_realize(dev, &isa->bus, err);
    }
    return !strcmp(bus, "PCI") && device_realize(dev, &pci->bus, err);
}

/* In the child: exit status. */
static int one_type(const DeviceType *type)
{
    Rig r;
    MemRegion ram;
    IsaBus isa = {0};
    PciBus pci;
    GError *err = NULL;

    rig_open(&r);
    mem_region_init_ram(&ram, "ram", 1 << 20, NULL);
    mem_region_add(&r.m->memory_root, &ram, 0, 0);
    bus_init(&isa.bus, "ISA", "isa.0", NULL);
    isa.machine = r.m;
    isa.io = &r.m->io_root;
    isa.mem = &r.m->memory_root;
    isa.mem_space = r.m->memory;
    isa.clock = r.clk;
    pci_bus_init(&pci, "pci.0", NULL, &r.m->memory_root, &r.m->io_root, r.m->memory);

    Device *dev = device_new(type, r.m);
    if (!realize(dev, &r, &isa, &pci, &err)) {
        device_free(dev);
        g_print("# %s: %s\n", type->name, err ? err->message : "no such bus here");
        return NEEDS_BOARD;
    }
    for (unsigned i = 0; i < 3; i++) {
        clock_step(r.clk, 1234567);
        rig_roundtrip(dev);
    }
    device_free(dev);
    g_assert_cmpuint(r.m->devices->len, ==, 0);
    g_assert_null(isa.bus.children);
    g_assert_null(pci.bus.children);
    g_assert_cmpint(clock_next_deadline(r.clk), ==, -1);
    bus_clear(&isa.bus);
    pci_bus_fini(&pci);
    mem_region_destroy(&ram);
    rig_close(&r);
    return GOOD;
}

static void test_type(gconstpointer data)
{
    const DeviceType *type = data;
    int status = 0;

    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(type->state ? one_type(type) : NEEDS_BOARD);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NEEDS_BOARD) {
        g_test_skip("needs its board, or has no state");
        return;
    }
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, GOOD);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; device_types[i]; i++) {
        char *path = g_strdup_printf("/roundtrip/%s", device_types[i]->name);
        g_test_add_data_func(path, device_types[i], test_type);
        g_free(path);
    }
    return g_test_run();
}
