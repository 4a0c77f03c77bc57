/*
 * Kernels with the PVH entry: "x86/HVM direct boot ABI" (Xen docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h).
 */
#include "core/log.h"
#include "hw/firmware/elf_image.h"
#include <string.h>

#define START_MAGIC 0x336ec578u
#define INFO_ADDR 0x10000u
#define INFO_END 0x80000u

enum { START_SIZE = 56, MODULE_SIZE = 32, MAP_ENTRY_SIZE = 24 };

bool pvh_probe(const KernelFile *k)
{
    return elf_probe(k); /* whether the note is there is for the loader to say */
}

static void put64(uint8_t *p, uint64_t v)
{
    pci_set32(p, (uint32_t)v);
    pci_set32(p + 4, (uint32_t)(v >> 32));
}

/* The RSDP that the BIOS left in its segment; 0 = none. */
static uint64_t find_rsdp(Machine *m)
{
    for (uint32_t at = 0xe0000; at < 0x100000; at += 16) {
        char sig[8];
        if (mem_read(m->memory, at, sig, sizeof(sig)) && !memcmp(sig, "RSD PTR ", 8)) {
            return at;
        }
    }
    return 0;
}

static bool build(Flat32Boot *b, const E820Entry *map, unsigned n)
{
    unsigned mods = b->modules->len;
    size_t map_at = START_SIZE, mod_at = map_at + n * MAP_ENTRY_SIZE;
    size_t text_at = mod_at + mods * MODULE_SIZE, total = text_at + strlen(b->cmdline) + 1;

    if (total > INFO_END - INFO_ADDR) {
        return false;
    }
    g_autofree uint8_t *s = g_malloc0(total);
    pci_set32(s, START_MAGIC);
    pci_set32(s + 4, 1); /* version: with a memory map */
    pci_set32(s + 12, mods);
    put64(s + 16, mods ? INFO_ADDR + mod_at : 0);
    put64(s + 24, INFO_ADDR + text_at);
    put64(s + 32, find_rsdp(b->machine));
    put64(s + 40, INFO_ADDR + map_at);
    pci_set32(s + 48, n);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *p = s + map_at + i * MAP_ENTRY_SIZE;
        put64(p, map[i].addr);
        put64(p + 8, map[i].len);
        pci_set32(p + 16, map[i].type);
    }
    for (unsigned i = 0; i < mods; i++) {
        const Flat32Module *m = &g_array_index(b->modules, Flat32Module, i);
        put64(s + mod_at + i * MODULE_SIZE, m->addr);
        put64(s + mod_at + i * MODULE_SIZE + 8, m->size);
    }
    strcpy((char *)s + text_at, b->cmdline);
    mem_write(b->machine->memory, INFO_ADDR, s, total);
    return true;
}

Flat32Boot *pvh_load(const KernelFile *k, const PcMemoryLayout *layout, GError **err)
{
    ElfImage e;

    if (!elf_load(&e, k, err)) {
        return NULL;
    }
    if (!e.have_pvh || e.pvh_entry > UINT32_MAX) {
        elf_free(&e);
        fail(err, "kernel '%s' is an ELF file without Multiboot header or PVH entry note", k->name);
        return NULL;
    }
    Flat32Boot *b = g_new0(Flat32Boot, 1);
    b->pieces = g_steal_pointer(&e.pieces);
    b->build = build;
    b->eip = (uint32_t)e.pvh_entry;
    b->ebx = INFO_ADDR;
    b->cmdline = g_strdup(k->append ? k->append : "");
    if (!flat32_check(k, b->pieces, layout, &b->high, err) ||
        !flat32_add_modules(b, k, layout, true, err)) {
        flat32_boot_free(b);
        return NULL;
    }
    return b;
}
