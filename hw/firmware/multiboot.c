/*
 * Multiboot 1 kernels: "Multiboot Specification version 0.6.96".
 */
#include "core/log.h"
#include "hw/firmware/elf_image.h"
#include <string.h>

#define HEADER_MAGIC 0x1badb002u
#define LOADER_MAGIC 0x2badb002u
#define SEARCH 8192
#define INFO_ADDR 0x10000u
#define INFO_END 0x80000u /* well below the BIOS' data */

enum {
    FLAG_VIDEO = 1 << 2,
    FLAG_ADDRESSES = 1 << 16,
    FLAGS_REQUIRED = 0xffff,
    FLAGS_KNOWN = 7,

    MBI_MEMORY = 1 << 0,
    MBI_CMDLINE = 1 << 2,
    MBI_MODULES = 1 << 3,
    MBI_MMAP = 1 << 6,
    MBI_LOADER = 1 << 9,
    MBI_SIZE = 88,
};

/* Offset of the header, or -1. */
static int64_t find_header(const KernelFile *k)
{
    for (size_t at = 0; at + 12 <= MIN(k->len, SEARCH); at += 4) {
        const uint8_t *p = k->data + at;
        if (pci_get32(p) == HEADER_MAGIC &&
            pci_get32(p) + pci_get32(p + 4) + pci_get32(p + 8) == 0) {
            return (int64_t)at;
        }
    }
    return -1;
}

bool multiboot_probe(const KernelFile *k)
{
    return find_header(k) >= 0;
}

/* ---- the information structure ---- */

typedef struct Info {
    GByteArray *out;
} Info;

static uint32_t put(Info *i, const void *data, size_t len)
{
    uint32_t at = INFO_ADDR + i->out->len;
    g_byte_array_append(i->out, data, (guint)len);
    while (i->out->len % 4) {
        g_byte_array_append(i->out, (const uint8_t *)"", 1);
    }
    return at;
}

static uint32_t put_text(Info *i, const char *text)
{
    return put(i, text, strlen(text) + 1);
}

static void put_modules(Info *i, const Flat32Boot *b, uint8_t *mbi)
{
    g_autofree uint8_t *list = g_malloc0(16 * b->modules->len + 1);

    for (unsigned n = 0; n < b->modules->len; n++) {
        const Flat32Module *m = &g_array_index(b->modules, Flat32Module, n);
        pci_set32(list + 16 * n, m->addr);
        pci_set32(list + 16 * n + 4, m->addr + m->size);
        pci_set32(list + 16 * n + 8, put_text(i, m->cmdline));
    }
    pci_set32(mbi + 20, b->modules->len);
    pci_set32(mbi + 24, put(i, list, 16 * b->modules->len));
}

static void put_map(Info *i, const E820Entry *map, unsigned n, uint8_t *mbi)
{
    uint32_t lower = 0, upper = 0;
    g_autofree uint8_t *list = g_malloc0(24 * n + 1);

    for (unsigned e = 0; e < n; e++) {
        uint8_t *p = list + 24 * e;
        pci_set32(p, 20);
        pci_set32(p + 4, (uint32_t)map[e].addr);
        pci_set32(p + 8, (uint32_t)(map[e].addr >> 32));
        pci_set32(p + 12, (uint32_t)map[e].len);
        pci_set32(p + 16, (uint32_t)(map[e].len >> 32));
        pci_set32(p + 20, map[e].type);
        if (map[e].type == E820_RAM && map[e].addr == 0) {
            lower = (uint32_t)MIN(map[e].len >> 10, 640);
        }
        if (map[e].type == E820_RAM && map[e].addr == 0x100000) {
            upper = (uint32_t)MIN(map[e].len >> 10, UINT32_MAX);
        }
    }
    pci_set32(mbi + 4, lower);
    pci_set32(mbi + 8, upper);
    pci_set32(mbi + 44, 24 * n);
    pci_set32(mbi + 48, put(i, list, 24 * n));
}

static bool build(Flat32Boot *b, const E820Entry *map, unsigned n)
{
    Info i = {.out = g_byte_array_new()};
    uint8_t mbi[MBI_SIZE] = {0};

    put(&i, mbi, sizeof(mbi));
    pci_set32(mbi, MBI_MEMORY | MBI_CMDLINE | MBI_MODULES | MBI_MMAP | MBI_LOADER);
    pci_set32(mbi + 16, put_text(&i, b->cmdline));
    put_modules(&i, b, mbi);
    put_map(&i, map, n, mbi);
    pci_set32(mbi + 64, put_text(&i, "Rhea"));
    memcpy(i.out->data, mbi, sizeof(mbi));
    bool ok = i.out->len <= INFO_END - INFO_ADDR;
    if (ok) {
        mem_write(b->machine->memory, INFO_ADDR, i.out->data, i.out->len);
    }
    g_byte_array_unref(i.out);
    return ok;
}

/* ---- loading ---- */

/* "a.out kludge": the header itself says where the file goes. */
static bool load_by_header(Flat32Boot *b, const KernelFile *k, size_t at, GError **err)
{
    const uint8_t *h = k->data + at;

    if (k->len - at < 32) {
        return fail(err, "Multiboot kernel '%s' is cut off in its header", k->name);
    }
    uint32_t header = pci_get32(h + 12), load = pci_get32(h + 16), load_end = pci_get32(h + 20);
    uint32_t bss_end = pci_get32(h + 24);
    uint64_t off = (uint64_t)at - (header - load);
    if (header < load || header - load > at) {
        return fail(err, "Multiboot kernel '%s' is to be loaded from before its start", k->name);
    }
    uint64_t len = load_end ? (uint64_t)load_end - load : k->len - off;
    if ((load_end && load_end < load) || len > k->len - off || (uint64_t)load + len > UINT32_MAX ||
        (bss_end && bss_end < load + len)) {
        return fail(err, "Multiboot kernel '%s' has addresses that do not fit its file", k->name);
    }
    Flat32Piece p = {load, g_bytes_new(k->data + off, len), bss_end ? bss_end - load : len};
    g_array_append_val(b->pieces, p);
    b->eip = pci_get32(h + 28);
    return true;
}

static bool load_elf(Flat32Boot *b, const KernelFile *k, GError **err)
{
    ElfImage e;

    if (!elf_probe(k)) {
        return fail(err, "Multiboot kernel '%s' is no ELF file and gives no load addresses",
                    k->name);
    }
    if (!elf_load(&e, k, err)) {
        return false;
    }
    if (e.is64) {
        elf_free(&e);
        return fail(err, "Multiboot kernel '%s' is a 64-bit ELF file; a 32-bit one is needed",
                    k->name);
    }
    g_array_unref(b->pieces);
    b->pieces = g_steal_pointer(&e.pieces);
    b->eip = (uint32_t)e.entry;
    return true;
}

Flat32Boot *multiboot_load(const KernelFile *k, const PcMemoryLayout *layout, GError **err)
{
    size_t at = (size_t)find_header(k);
    uint32_t flags = pci_get32(k->data + at + 4);
    Flat32Boot *b = g_new0(Flat32Boot, 1);

    b->pieces = g_array_new(FALSE, FALSE, sizeof(Flat32Piece));
    b->build = build;
    b->eax = LOADER_MAGIC;
    b->ebx = INFO_ADDR;
    b->cmdline = g_strdup_printf("%s %s", k->name, k->append ? k->append : "");
    bool ok = (flags & FLAGS_REQUIRED & ~FLAGS_KNOWN) == 0 ||
              fail(err, "Multiboot kernel '%s' requires features %#x that are not there", k->name,
                   flags & FLAGS_REQUIRED & ~FLAGS_KNOWN);
    if (ok && (flags & FLAG_VIDEO)) {
        warn_report("Multiboot kernel '%s' asks for a video mode and does not get one", k->name);
    }
    ok = ok && ((flags & FLAG_ADDRESSES) ? load_by_header(b, k, at, err) : load_elf(b, k, err)) &&
         flat32_check(k, b->pieces, layout, &b->high, err) &&
         flat32_add_modules(b, k, layout, false, err);
    if (!ok) {
        flat32_boot_free(b);
        return NULL;
    }
    return b;
}
