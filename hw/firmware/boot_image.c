/* Kernel and firmware files: see boot_image.h. ELF: System V ABI, chapter 4 and 5; gzip: RFC 1952.
 */
#include "hw/firmware/boot_image.h"
#include "core/log.h"
#include "hw/firmware/rom.h"
#include <elf.h>
#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#define MAX_IMAGE (1ull << 30) /* of a compressed file, unpacked */

/* ---- reading ---- */

static bool gunzip(const char *what, const char *path, uint8_t **data, size_t *len, GError **err)
{
    GByteArray *out = g_byte_array_new();
    z_stream z = {.next_in = *data, .avail_in = (uInt)MIN(*len, UINT32_MAX)};
    uint8_t buf[65536];
    int ret = inflateInit2(&z, 16 + MAX_WBITS);

    while (ret == Z_OK) {
        z.next_out = buf;
        z.avail_out = sizeof(buf);
        ret = inflate(&z, Z_NO_FLUSH);
        if (ret == Z_OK || ret == Z_STREAM_END) {
            g_byte_array_append(out, buf, sizeof(buf) - z.avail_out);
        }
        if (out->len > MAX_IMAGE) {
            ret = Z_MEM_ERROR;
        }
    }
    inflateEnd(&z);
    if (ret != Z_STREAM_END) {
        g_byte_array_unref(out);
        return fail(err, "%s '%s' is a damaged or too large gzip file", what, path);
    }
    g_free(*data);
    *len = out->len;
    *data = g_byte_array_free(out, FALSE);
    return true;
}

static void add_piece(BootImage *b, uint64_t addr, GBytes *data, uint64_t size)
{
    BootPiece p = {addr, data, size};

    g_array_append_val(b->pieces, p);
    b->low = MIN(b->low, addr);
    b->high = MAX(b->high, addr + size);
}

typedef struct Header {
    uint64_t entry, phoff;
    unsigned machine, phnum, phentsize;
} Header;

static bool read_header(const uint8_t *data, size_t len, bool is64, Header *h)
{
    if (is64) {
        Elf64_Ehdr e;

        if (len < sizeof(e)) {
            return false;
        }
        memcpy(&e, data, sizeof(e));
        *h = (Header){e.e_entry, e.e_phoff, e.e_machine, e.e_phnum, e.e_phentsize};
        return h->phentsize >= sizeof(Elf64_Phdr) || !h->phnum;
    }
    Elf32_Ehdr e;

    if (len < sizeof(e)) {
        return false;
    }
    memcpy(&e, data, sizeof(e));
    *h = (Header){e.e_entry, e.e_phoff, e.e_machine, e.e_phnum, e.e_phentsize};
    return h->phentsize >= sizeof(Elf32_Phdr) || !h->phnum;
}

typedef struct Segment {
    uint32_t type;
    uint64_t off, vaddr, paddr, filesz, memsz;
} Segment;

static bool read_segment(const uint8_t *data, size_t len, bool is64, const Header *h, unsigned i,
                         Segment *s)
{
    uint64_t at = h->phoff + (uint64_t)i * h->phentsize;

    if (at > len || len - at < h->phentsize) {
        return false;
    }
    if (is64) {
        Elf64_Phdr p;

        memcpy(&p, data + at, sizeof(p));
        *s = (Segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz};
    } else {
        Elf32_Phdr p;

        memcpy(&p, data + at, sizeof(p));
        *s = (Segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz};
    }
    return s->type != PT_LOAD || (s->off <= len && s->filesz <= len - s->off &&
                                  s->memsz >= s->filesz && s->paddr + s->memsz >= s->paddr);
}

static bool read_elf(BootImage *b, const char *what, const char *path, GBytes *file,
                     unsigned machine, GError **err)
{
    gsize len;
    const uint8_t *data = g_bytes_get_data(file, &len);
    Header h;

    b->elf = true;
    b->is64 = data[EI_CLASS] == ELFCLASS64;
    if (data[EI_DATA] != ELFDATA2LSB || !read_header(data, len, b->is64, &h)) {
        return fail(err, "%s '%s' is a damaged or big-endian ELF file", what, path);
    }
    if (h.machine != machine) {
        return fail(err, "%s '%s' is an ELF file for another processor", what, path);
    }
    b->entry = h.entry;
    for (unsigned i = 0; i < h.phnum; i++) {
        Segment s;

        if (!read_segment(data, len, b->is64, &h, i, &s)) {
            return fail(err, "%s '%s' is a damaged ELF file: program header %u", what, path, i);
        }
        if (s.type != PT_LOAD || !s.memsz) {
            continue;
        }
        if (h.entry >= s.vaddr && h.entry - s.vaddr < s.memsz) {
            b->entry = h.entry - s.vaddr + s.paddr;
        }
        add_piece(b, s.paddr, g_bytes_new_from_bytes(file, s.off, s.filesz), s.memsz);
    }
    return b->pieces->len || fail(err, "%s '%s' is an ELF file with nothing to load", what, path);
}

bool boot_image_read(BootImage *b, const char *what, const char *path, unsigned machine,
                     GError **err)
{
    uint8_t *data;
    size_t len;
    bool ok = true;

    *b = (BootImage){.low = UINT64_MAX};
    if (!firmware_read_file(what, path, &data, &len, err)) {
        return false;
    }
    if (len > 2 && data[0] == 0x1f && data[1] == 0x8b && !gunzip(what, path, &data, &len, err)) {
        g_free(data);
        return false;
    }
    if (!len) {
        g_free(data);
        return fail(err, "%s '%s' is empty", what, path);
    }
    GBytes *file = g_bytes_new_take(data, len);
    b->pieces = g_array_new(FALSE, FALSE, sizeof(BootPiece));
    if (len > EI_NIDENT && !memcmp(data, ELFMAG, SELFMAG)) {
        ok = read_elf(b, what, path, file, machine, err);
    } else {
        add_piece(b, 0, g_bytes_ref(file), len);
    }
    g_bytes_unref(file);
    if (!ok) {
        boot_image_free(b);
    }
    return ok;
}

void boot_image_place(BootImage *b, uint64_t addr)
{
    BootPiece *p = &g_array_index(b->pieces, BootPiece, 0);

    p->addr = b->low = b->entry = addr;
    b->high = addr + p->size;
}

const uint8_t *boot_image_data(const BootImage *b, size_t *len)
{
    gsize n;
    const uint8_t *data = g_bytes_get_data(g_array_index(b->pieces, BootPiece, 0).data, &n);

    *len = n;
    return data;
}

void boot_image_free(BootImage *b)
{
    for (unsigned i = 0; b->pieces && i < b->pieces->len; i++) {
        g_bytes_unref(g_array_index(b->pieces, BootPiece, i).data);
    }
    g_clear_pointer(&b->pieces, g_array_unref);
}

/* ---- in guest memory ---- */

typedef struct Placed {
    BootPiece piece;
    char *what;
} Placed;

struct BootMemory {
    Machine *m;
    GArray *placed;
};

static void fill_zeros(MemSpace *mem, uint64_t addr, uint64_t len)
{
    static const uint8_t zeros[4096];

    while (len) {
        uint64_t n = MIN(len, sizeof(zeros));

        mem_write_rom(mem, addr, zeros, n);
        addr += n;
        len -= n;
    }
}

static void write_all(void *opaque)
{
    BootMemory *b = opaque;

    for (unsigned i = 0; i < b->placed->len; i++) {
        const BootPiece *p = &g_array_index(b->placed, Placed, i).piece;
        gsize len;
        const void *data = g_bytes_get_data(p->data, &len);

        mem_write_rom(b->m->memory, p->addr, data, len);
        fill_zeros(b->m->memory, p->addr + len, p->size - len);
    }
}

BootMemory *boot_memory_new(Machine *m)
{
    BootMemory *b = g_new0(BootMemory, 1);

    b->m = m;
    b->placed = g_array_new(FALSE, FALSE, sizeof(Placed));
    machine_add_reset_hook(m, write_all, b);
    return b;
}

void boot_memory_free(BootMemory *b)
{
    if (!b) {
        return;
    }
    for (unsigned i = 0; i < b->placed->len; i++) {
        Placed *p = &g_array_index(b->placed, Placed, i);

        g_bytes_unref(p->piece.data);
        g_free(p->what);
    }
    g_array_unref(b->placed);
    g_free(b);
}

/* Is all of it RAM or ROM? */
static bool is_memory(Machine *m, uint64_t addr, uint64_t size)
{
    FlatView *view = mem_view_get(m->memory);
    bool ok = true;

    while (ok && size) {
        const FlatRange *r = mem_view_find(view, addr);

        ok = r && (r->region->kind == MEM_RAM || r->region->kind == MEM_ROM);
        if (ok) {
            uint64_t n = MIN(size, r->addr + r->size - addr);

            addr += n;
            size -= n;
        }
    }
    mem_view_put(view);
    return ok;
}

bool boot_memory_add(BootMemory *b, const char *what, uint64_t addr, GBytes *data, uint64_t size,
                     GError **err)
{
    Placed p = {{addr, data, MAX(size, g_bytes_get_size(data))}, NULL};

    size = p.piece.size;
    if (addr + size < addr || !is_memory(b->m, addr, size)) {
        return fail(err, "%s: there is no memory for its %" PRIu64 " bytes at %#" PRIx64, what,
                    size, addr);
    }
    for (unsigned i = 0; i < b->placed->len; i++) {
        const Placed *o = &g_array_index(b->placed, Placed, i);

        if (addr < o->piece.addr + o->piece.size && o->piece.addr < addr + size) {
            return fail(err,
                        "%s (%#" PRIx64 "…%#" PRIx64 ") and %s (%#" PRIx64 "…%#" PRIx64
                        ") want the same memory",
                        what, addr, addr + size - 1, o->what, o->piece.addr,
                        o->piece.addr + o->piece.size - 1);
        }
    }
    g_bytes_ref(data);
    p.what = g_strdup(what);
    g_array_append_val(b->placed, p);
    return true;
}

bool boot_memory_add_image(BootMemory *b, const char *what, const BootImage *image, GError **err)
{
    for (unsigned i = 0; i < image->pieces->len; i++) {
        const BootPiece *p = &g_array_index(image->pieces, BootPiece, i);

        if (!boot_memory_add(b, what, p->addr, p->data, p->size, err)) {
            return false;
        }
    }
    return true;
}
