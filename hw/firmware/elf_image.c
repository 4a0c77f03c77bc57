/* ELF reading: "Tool Interface Standard (TIS) ELF Specification" 1.2; ELF-64 Object File Format. */
#include "hw/firmware/elf_image.h"
#include "core/log.h"
#include "hw/firmware/rom.h"
#include <elf.h>
#include <string.h>

#define NOTE_PHYS32_ENTRY 18 /* Xen public/elfnote.h */
#define BIOS_RESERVE (1u << 20)

typedef struct Segment {
    uint32_t type;
    uint64_t off, vaddr, paddr, filesz, memsz, align;
} Segment;

bool elf_probe(const KernelFile *k)
{
    return k->len >= sizeof(Elf32_Ehdr) && memcmp(k->data, ELFMAG, SELFMAG) == 0;
}

static bool get_segment(const KernelFile *k, bool is64, uint64_t at, Segment *s)
{
    if (is64) {
        Elf64_Phdr p;
        if (at > k->len || k->len - at < sizeof(p)) {
            return false;
        }
        memcpy(&p, k->data + at, sizeof(p));
        *s =
            (Segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
    } else {
        Elf32_Phdr p;
        if (at > k->len || k->len - at < sizeof(p)) {
            return false;
        }
        memcpy(&p, k->data + at, sizeof(p));
        *s =
            (Segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
    }
    return s->off <= k->len && s->filesz <= k->len - s->off;
}

/* Notes: name size, descriptor size, type, name, descriptor; padded to 4. */
static void read_notes(ElfImage *out, const uint8_t *p, uint64_t len)
{
    while (len >= 12) {
        uint32_t name = pci_get32(p), desc = pci_get32(p + 4), type = pci_get32(p + 8);
        uint64_t name_pad = ((uint64_t)name + 3) & ~3ull, desc_pad = ((uint64_t)desc + 3) & ~3ull;
        if (12 + name_pad + desc_pad > len) {
            return;
        }
        const uint8_t *d = p + 12 + name_pad;
        if (type == NOTE_PHYS32_ENTRY && name == 4 && memcmp(p + 12, "Xen", 4) == 0 && desc >= 4) {
            out->have_pvh = true;
            out->pvh_entry = pci_get32(d);
            if (desc >= 8) {
                out->pvh_entry |= (uint64_t)pci_get32(d + 4) << 32;
            }
        }
        p += 12 + name_pad + desc_pad;
        len -= 12 + name_pad + desc_pad;
    }
}

static void add_piece(ElfImage *out, const KernelFile *k, const Segment *s)
{
    Flat32Piece p = {s->paddr, g_bytes_new(k->data + s->off, s->filesz), s->memsz};

    g_array_append_val(out->pieces, p);
    out->low = MIN(out->low, s->paddr);
    out->high = MAX(out->high, s->paddr + s->memsz);
}

bool elf_load(ElfImage *out, const KernelFile *k, GError **err)
{
    uint64_t phoff, entry;
    unsigned n, size, machine;

    memset(out, 0, sizeof(*out));
    out->low = UINT64_MAX;
    out->is64 = k->data[EI_CLASS] == ELFCLASS64;
    if (out->is64) {
        Elf64_Ehdr h;
        if (k->len < sizeof(h)) {
            return fail(err, "kernel '%s' is cut off in its ELF header", k->name);
        }
        memcpy(&h, k->data, sizeof(h));
        phoff = h.e_phoff, n = h.e_phnum, size = h.e_phentsize, entry = h.e_entry;
        machine = h.e_machine;
    } else {
        Elf32_Ehdr h;
        memcpy(&h, k->data, sizeof(h));
        phoff = h.e_phoff, n = h.e_phnum, size = h.e_phentsize, entry = h.e_entry;
        machine = h.e_machine;
    }
    if (k->data[EI_DATA] != ELFDATA2LSB || (machine != EM_386 && machine != EM_X86_64)) {
        return fail(err, "kernel '%s' is an ELF file for another processor than x86", k->name);
    }
    if (size < (out->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr))) {
        return fail(err, "kernel '%s' is an ELF file without program headers", k->name);
    }
    out->entry = entry;
    out->pieces = g_array_new(FALSE, FALSE, sizeof(Flat32Piece));
    for (unsigned i = 0; i < n; i++) {
        Segment s;
        if (phoff > k->len || !get_segment(k, out->is64, phoff + (uint64_t)i * size, &s)) {
            elf_free(out);
            return fail(err, "kernel '%s' is a damaged ELF file: program header %u", k->name, i);
        }
        if (s.type == PT_NOTE) {
            read_notes(out, k->data + s.off, s.filesz);
        }
        if (s.type != PT_LOAD || s.memsz == 0) {
            continue;
        }
        if (s.memsz < s.filesz || s.paddr + s.memsz < s.paddr) {
            elf_free(out);
            return fail(err, "kernel '%s' is a damaged ELF file: program header %u", k->name, i);
        }
        if (entry >= s.vaddr && entry - s.vaddr < s.memsz) {
            out->entry = entry - s.vaddr + s.paddr;
        }
        add_piece(out, k, &s);
    }
    if (out->pieces->len == 0) {
        elf_free(out);
        return fail(err, "kernel '%s' is an ELF file with nothing to load", k->name);
    }
    return true;
}

void elf_free(ElfImage *e)
{
    for (unsigned i = 0; e->pieces && i < e->pieces->len; i++) {
        g_bytes_unref(g_array_index(e->pieces, Flat32Piece, i).data);
    }
    g_clear_pointer(&e->pieces, g_array_unref);
}

/* ---- pieces of 32-bit kernels ---- */

static uint64_t ram_top(const PcMemoryLayout *layout)
{
    return layout->below_4g - MIN(BIOS_RESERVE, layout->below_4g / 16);
}

bool flat32_check(const KernelFile *k, GArray *pieces, const PcMemoryLayout *layout, uint32_t *high,
                  GError **err)
{
    uint64_t top = ram_top(layout), end = 0;

    for (unsigned i = 0; i < pieces->len; i++) {
        const Flat32Piece *p = &g_array_index(pieces, Flat32Piece, i);
        if (p->addr < 0x100000) {
            return fail(err,
                        "kernel '%s' wants to be at %#" G_GINT64_MODIFIER
                        "x, below 1 MiB, where the BIOS is",
                        k->name, p->addr);
        }
        end = MAX(end, p->addr + p->size);
    }
    if (end > top) {
        return fail(err,
                    "kernel '%s' needs at least %" G_GUINT64_FORMAT " MiB of memory below 4 GiB",
                    k->name, (end >> 20) + 2);
    }
    *high = (uint32_t)end;
    return true;
}

static bool add_module(Flat32Boot *b, const KernelFile *k, const char *text, const char *file,
                       const PcMemoryLayout *layout, GError **err)
{
    uint8_t *data;
    size_t len;

    if (!firmware_read_file("module", file, &data, &len, err)) {
        return false;
    }
    uint64_t addr = ((uint64_t)b->high + 0xfff) & ~0xfffull, end = addr + len;
    Flat32Piece p = {addr, g_bytes_new_take(data, len), len};
    g_array_append_val(b->pieces, p);
    if (end > ram_top(layout)) {
        return fail(err,
                    "kernel '%s' with module '%s' needs at least %" G_GUINT64_FORMAT
                    " MiB of memory below 4 GiB",
                    k->name, file, (end >> 20) + 2);
    }
    Flat32Module m = {(uint32_t)addr, (uint32_t)len, g_strdup(text)};
    g_array_append_val(b->modules, m);
    b->high = (uint32_t)end;
    return true;
}

bool flat32_add_modules(Flat32Boot *b, const KernelFile *k, const PcMemoryLayout *layout,
                        bool one_file, GError **err)
{
    b->modules = g_array_new(FALSE, FALSE, sizeof(Flat32Module));
    if (!k->initrd) {
        return true;
    }
    if (one_file) {
        return add_module(b, k, "", k->initrd, layout, err);
    }
    const char *p = k->initrd;
    while (*p) {
        g_autoptr(GString) item = g_string_new(NULL);
        for (; *p && (*p != ',' || p[1] == ','); p++) {
            g_string_append_c(item, *p);
            p += *p == ',';
        }
        p += *p == ',';
        g_autofree char *file = g_strndup(item->str, strcspn(item->str, " "));
        if (!add_module(b, k, item->str, file, layout, err)) {
            return false;
        }
    }
    return true;
}
