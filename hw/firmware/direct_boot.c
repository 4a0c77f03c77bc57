/* Which loader takes a -kernel file, the boot ROM, and the entry of 32-bit kernels. */
#include "core/intc.h"
#include "core/log.h"
#include "hw/firmware/linux_boot.h"
#include "hw/firmware/linuxboot-rom.h"
#include "hw/firmware/rom.h"
#include <string.h>
#include <unistd.h>

#define ROM_FILE "genroms/linuxboot.bin"
#define MAP_FILE "etc/rhea/enter"
#define MAP_MAX 128 /* MAP_MAX of linuxboot.S */

enum {
    ROM_ENTER_KEY = 0x1c,
    ROM_PNP = 0x20,
    ROM_PNP_SUM = 0x29,
    ROM_PNP_END = 0x40,
    MAP_ENTRY = 20,
    MAP_SIZE = 4 + MAP_ENTRY * MAP_MAX,
};

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--) {
        s += *p++;
    }
    return s;
}

uint8_t *direct_boot_rom(uint16_t enter_key, size_t *len)
{
    uint8_t *rom = g_memdup2(linuxboot_rom, sizeof(linuxboot_rom));

    rom[ROM_ENTER_KEY] = (uint8_t)enter_key;
    rom[ROM_ENTER_KEY + 1] = (uint8_t)(enter_key >> 8);
    rom[ROM_PNP_SUM] = (uint8_t)-sum(rom + ROM_PNP, ROM_PNP_END - ROM_PNP);
    *len = sizeof(linuxboot_rom);
    rom[*len - 1] = (uint8_t)-sum(rom, *len);
    return rom;
}

/* ---- 32-bit kernels ---- */

static void free_module(gpointer p)
{
    g_free(((Flat32Module *)p)->cmdline);
}

void flat32_boot_free(Flat32Boot *b)
{
    if (!b) {
        return;
    }
    for (unsigned i = 0; b->pieces && i < b->pieces->len; i++) {
        g_bytes_unref(g_array_index(b->pieces, Flat32Piece, i).data);
    }
    g_clear_pointer(&b->pieces, g_array_unref);
    if (b->modules) {
        g_array_set_clear_func(b->modules, free_module);
        g_array_unref(b->modules);
    }
    g_free(b->cmdline);
    g_free(b);
}

static void zero_guest(MemSpace *mem, uint64_t addr, uint64_t len)
{
    static const uint8_t zeros[4096];
    while (len) {
        uint64_t n = MIN(len, sizeof(zeros));
        mem_write(mem, addr, zeros, n);
        addr += n;
        len -= n;
    }
}

/* Machine lock; loaders checked that all lies in RAM. */
static void write_pieces(const Flat32Boot *b)
{
    MemSpace *mem = b->machine->memory;

    for (unsigned i = 0; i < b->pieces->len; i++) {
        const Flat32Piece *p = &g_array_index(b->pieces, Flat32Piece, i);
        gsize n;
        const void *data = g_bytes_get_data(p->data, &n);
        mem_write(mem, p->addr, data, n);
        zero_guest(mem, p->addr + n, p->size - n);
    }
}

/* vCPU thread, between two instructions. */
static void enter(VCpu *cpu, void *arg)
{
    const Flat32Boot *b = arg;
    cpu->target->board->enter_flat32(cpu, b->eip, b->eax, b->ebx);
}

/* The ROM wrote the memory map: machine lock, in the OUT instruction of a vCPU. */
static void map_written(void *opaque)
{
    Flat32Boot *b = opaque;
    E820Entry map[MAP_MAX];
    size_t len;
    const uint8_t *p = fw_cfg_get_file(b->fw, b->file, &len);
    unsigned n = MIN(pci_get32(p), MAP_MAX);

    for (unsigned i = 0; i < n; i++) {
        const uint8_t *e = p + 4 + i * MAP_ENTRY;
        map[i].addr = pci_get32(e) | (uint64_t)pci_get32(e + 4) << 32;
        map[i].len = pci_get32(e + 8) | (uint64_t)pci_get32(e + 12) << 32;
        map[i].type = pci_get32(e + 16);
    }
    write_pieces(b);
    if (!b->build(b, map, n)) {
        guest_error("the memory map leaves no room for the kernel's start information");
        return;
    }
    VCpu *cpu = vcpu_current();
    if (cpu) {
        vcpu_queue(cpu, enter, b);
    }
}

static bool setup_flat32(Machine *m, FwCfg *fw, Flat32Boot *b, GError **err)
{
    g_autofree uint8_t *blank = g_malloc0(MAP_SIZE);

    b->machine = m;
    b->fw = fw;
    b->file = MAP_FILE;
    return fw_cfg_set_file_rw(fw, MAP_FILE, blank, MAP_SIZE, map_written, b,
                              (void (*)(void *))flat32_boot_free, err);
}

/* ---- choice ---- */

static bool setup_kind(Machine *m, FwCfg *fw, const KernelFile *k, const PcMemoryLayout *layout,
                       GError **err)
{
    Flat32Boot *b;

    if (linux_boot_probe(k)) {
        return linux_boot_setup(fw, k, layout, err);
    }
    if (multiboot_probe(k)) {
        b = multiboot_load(k, layout, err);
    } else if (pvh_probe(k)) {
        b = pvh_load(k, layout, err);
    } else {
        return fail(err,
                    "'%s' is no kernel: neither a Linux image (bzImage) nor a Multiboot or PVH "
                    "kernel",
                    k->name);
    }
    return b && setup_flat32(m, fw, b, err);
}

bool direct_boot_setup(Machine *m, FwCfg *fw, const PcMemoryLayout *layout, GError **err)
{
    const MachineConfig *cfg = &m->cfg;
    uint8_t *data = NULL;
    size_t len = 0;

    if (!cfg->kernel) {
        if (cfg->initrd || cfg->append) {
            return fail(err, "-initrd and -append need -kernel");
        }
        return true;
    }
    int fd = firmware_open_file("kernel", cfg->kernel, &data, &len, err);
    if (fd < 0 && !data) {
        return false;
    }
    /* Mapped while its headers are looked at: only those pages are read. */
    g_autoptr(GMappedFile) map = fd >= 0 && len ? g_mapped_file_new_from_fd(fd, false, NULL) : NULL;
    KernelFile k = {.name = cfg->kernel,
                    .data = data  ? data
                            : map ? (uint8_t *)g_mapped_file_get_contents(map)
                                  : NULL,
                    .len = data  ? len
                           : map ? g_mapped_file_get_length(map)
                                 : 0,
                    .fd = fd > 0 ? fd : 0,
                    .initrd = cfg->initrd,
                    .append = cfg->append};
    bool ok = setup_kind(m, fw, &k, layout, err);
    g_free(data);
    if (fd >= 0) {
        close(fd);
    }
    if (!ok) {
        return false;
    }
    size_t rom_len;
    g_autofree uint8_t *rom = direct_boot_rom(fw_cfg_file_key(fw, MAP_FILE), &rom_len);
    if (!fw_cfg_set_file(fw, ROM_FILE, rom, rom_len, err)) {
        return false;
    }
    fw_cfg_add_boot_path(fw, -1, "/rom@" ROM_FILE);
    return true;
}
