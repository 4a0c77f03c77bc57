/* A machine's state as a stream; see vmstate.h. */
#include "migration/vmstate.h"
#include "core/log.h"
#include <string.h>
#include <zlib.h>

enum { VERSION = 1, MAX_RUN = 256, MAX_SECTION = 256 << 20 };
static const char magic[8] = "RHEAVM\n";

/* ---- saving ---- */

typedef struct Saver {
    Machine *m;
    const VmSink *to;
    uint32_t crc;
    GError **err;
} Saver;

static bool put(Saver *s, const void *data, size_t len)
{
    s->crc = crc32(s->crc, data, len);
    return s->to->write(s->to->opaque, data, len, s->err);
}

static bool put_le(Saver *s, uint64_t v, unsigned size)
{
    v = GUINT64_TO_LE(v);
    return put(s, &v, size);
}

static bool put_text(Saver *s, const char *text)
{
    size_t n = text ? MIN(strlen(text), 255) : 0;

    return put_le(s, n, 1) && put(s, text ? text : "", n);
}

static bool zero_page(const uint8_t *p)
{
    return !p[0] && !memcmp(p, p + 1, MEM_PAGE_SIZE - 1);
}

static bool save_memory(MemRegion *r, void *opaque)
{
    Saver *s = opaque;
    uint64_t pages = r->size >> MEM_PAGE_BITS, n;

    if (!put_le(s, 'R', 1) || !put_text(s, r->name) || !put_le(s, r->size, 8)) {
        return false;
    }
    for (uint64_t i = 0; i < pages; i += n) {
        const uint8_t *p = r->host + (i << MEM_PAGE_BITS);
        bool zero = zero_page(p);

        for (n = 1; n < MAX_RUN && i + n < pages; n++) {
            if (zero_page(p + (n << MEM_PAGE_BITS)) != zero) {
                break;
            }
        }
        if (!put_le(s, n, 4) || !put_le(s, !zero, 1) || (!zero && !put(s, p, n << MEM_PAGE_BITS))) {
            return false;
        }
    }
    return true;
}

static bool put_table(Saver *s, const StateTable *t, void *obj)
{
    g_autoptr(GByteArray) a = g_byte_array_new();

    if (t) {
        state_save(t, obj, a);
    }
    return put_le(s, a->len, 4) && put(s, a->data, a->len);
}

bool vm_state_save(Machine *m, const VmSink *to, GError **err)
{
    Saver s = {.m = m, .to = to, .crc = crc32(0, NULL, 0), .err = err};
    bool ok = put(&s, magic, sizeof(magic)) && put_le(&s, VERSION, 4) &&
              put_text(&s, m->type->name) && put_text(&s, m->cfg.target->name) &&
              put_le(&s, m->n_vcpus, 4) && put_le(&s, clock_now(m->virtual_clock), 8) &&
              put_le(&s, clock_offset(m->host_clock), 8) && mem_ram_foreach(save_memory, &s);

    for (guint i = 0; i < m->devices->len && ok; i++) {
        Device *d = m->devices->pdata[i];

        ok = put_le(&s, 'D', 1) && put_text(&s, d->type->name) && put_text(&s, d->id) &&
             put_table(&s, d->type->state, d);
    }
    for (unsigned i = 0; i < m->n_vcpus && ok; i++) {
        ok = put_le(&s, 'C', 1) && put_le(&s, i, 4) &&
             put_table(&s, m->vcpus[i]->target->state, m->vcpus[i]);
    }
    return ok && put_le(&s, 'E', 1) && put_le(&s, s.crc, 4);
}

/* ---- loading ---- */

typedef struct Loader {
    Machine *m;
    const VmSource *from;
    uint32_t crc;
    char name[256]; /* of the memory that is looked for */
    uint64_t size;
    MemRegion *found;
    GPtrArray *blocks; /* of MemRegion: loaded already */
    GError **err;
} Loader;

static bool get(Loader *l, void *data, size_t len)
{
    if (!l->from->read(l->from->opaque, data, len, l->err)) {
        return false;
    }
    l->crc = crc32(l->crc, data, len);
    return true;
}

static bool get_le(Loader *l, uint64_t *v, unsigned size)
{
    uint64_t le = 0;

    if (!get(l, &le, size)) {
        return false;
    }
    *v = GUINT64_FROM_LE(le);
    return true;
}

static bool get_text(Loader *l, char text[256])
{
    uint64_t n;

    if (!get_le(l, &n, 1) || !get(l, text, n)) {
        return false;
    }
    text[n] = 0;
    return (g_utf8_validate(text, n, NULL) && strlen(text) == n) ||
           fail(l->err, "the saved machine has a damaged name in it");
}

static bool get_header(Loader *l, uint64_t *now, int64_t *offset)
{
    char head[sizeof(magic)], type[256], arch[256];
    uint64_t version, cpus, off;
    Machine *m = l->m;

    if (!get(l, head, sizeof(head)) || !get_le(l, &version, 4)) {
        return false;
    }
    if (memcmp(head, magic, sizeof(magic)) || version != VERSION) {
        return fail(l->err, memcmp(head, magic, sizeof(magic))
                                ? "this is not the state of a machine that Rhea saved"
                                : "the saved machine has a version that this Rhea does not read");
    }
    if (!get_text(l, type) || !get_text(l, arch) || !get_le(l, &cpus, 4) || !get_le(l, now, 8) ||
        !get_le(l, &off, 8)) {
        return false;
    }
    *offset = (int64_t)off;
    if (strcmp(type, m->type->name) || strcmp(arch, m->cfg.target->name) || cpus != m->n_vcpus ||
        *now > INT64_MAX / 2) {
        return fail(l->err,
                    "the saved machine is a %s (%s) with %u CPUs, this one a %s (%s) with %u", type,
                    arch, (unsigned)cpus, m->type->name, m->cfg.target->name, m->n_vcpus);
    }
    return true;
}

static bool match_memory(MemRegion *r, void *opaque)
{
    Loader *l = opaque;

    if (!l->found && !strcmp(r->name, l->name) && !g_ptr_array_find(l->blocks, r, NULL)) {
        l->found = r;
    }
    return true;
}

static bool load_memory(Loader *l)
{
    if (!get_text(l, l->name) || !get_le(l, &l->size, 8)) {
        return false;
    }
    l->found = NULL;
    mem_ram_foreach(match_memory, l);
    MemRegion *r = l->found;
    if (!r || r->size != l->size) {
        return fail(l->err, "the saved machine has %" G_GUINT64_FORMAT " KiB of %s, this one %s",
                    l->size >> 10, l->name, r ? "another size" : "has none");
    }
    g_ptr_array_add(l->blocks, r);
    for (uint64_t i = 0, pages = r->size >> MEM_PAGE_BITS, n, data; i < pages; i += n) {
        if (!get_le(l, &n, 4) || !get_le(l, &data, 1)) {
            return false;
        }
        if (!n || n > MAX_RUN || n > pages - i || data > 1) {
            return fail(l->err, "the saved machine's memory %s is damaged", l->name);
        }
        uint8_t *p = r->host + (i << MEM_PAGE_BITS);
        if (data) {
            if (!get(l, p, n << MEM_PAGE_BITS)) {
                return false;
            }
        } else {
            for (uint64_t k = 0; k < n; k++) { /* pages that were never touched stay so */
                if (!zero_page(p + (k << MEM_PAGE_BITS))) {
                    memset(p + (k << MEM_PAGE_BITS), 0, MEM_PAGE_SIZE);
                }
            }
        }
    }
    mem_set_dirty(r, 0, r->size);
    return true;
}

static bool load_table(Loader *l, const StateTable *t, void *obj, const char *who)
{
    uint64_t len;
    size_t pos = 0;

    if (!get_le(l, &len, 4)) {
        return false;
    }
    if (len > MAX_SECTION || !t != !len) {
        return fail(l->err, "the saved state of %s has a wrong length", who);
    }
    g_autofree uint8_t *buf = g_try_malloc(len + 1);
    if (!buf) {
        return fail(l->err, "the saved state of %s is too large", who);
    }
    if (!get(l, buf, len) || (t && !state_load(t, obj, buf, len, &pos, l->err))) {
        return false;
    }
    return pos == len || fail(l->err, "the saved state of %s has a wrong length", who);
}

static bool load_vcpu(Loader *l, unsigned *n)
{
    uint64_t index;

    if (!get_le(l, &index, 4)) {
        return false;
    }
    if (index != *n || index >= l->m->n_vcpus) {
        return fail(l->err, "the saved machine has its CPUs in a wrong order");
    }
    VCpu *cpu = l->m->vcpus[(*n)++];
    g_autofree char *who = g_strdup_printf("CPU %u", cpu->index);
    return load_table(l, cpu->target->state, cpu, who);
}

static bool load_device(Loader *l, guint *n)
{
    GPtrArray *all = l->m->devices;
    char type[256], id[256];

    if (!get_text(l, type) || !get_text(l, id)) {
        return false;
    }
    Device *d = *n < all->len ? all->pdata[(*n)++] : NULL;
    if (!d || strcmp(type, d->type->name) || strcmp(id, d->id ? d->id : "")) {
        return fail(l->err, "the saved machine has a %s%s%s where this one has %s", type,
                    *id ? " " : "", id, d ? d->type->name : "no device");
    }
    return load_table(l, d->type->state, d, type);
}

static bool load_sections(Loader *l)
{
    unsigned cpus = 0;
    guint devices = 0;
    uint64_t kind, crc;

    for (bool ok = true; ok;) {
        if (!get_le(l, &kind, 1)) {
            return false;
        }
        switch (kind) {
        case 'R':
            ok = load_memory(l);
            break;
        case 'C':
            ok = load_vcpu(l, &cpus);
            break;
        case 'D':
            ok = load_device(l, &devices);
            break;
        case 'E': {
            uint32_t mine = l->crc;
            if (!get_le(l, &crc, 4)) {
                return false;
            }
            if (crc != mine) {
                return fail(l->err, "the saved machine is damaged: its checksum is wrong");
            }
            return (cpus == l->m->n_vcpus && devices == l->m->devices->len) ||
                   fail(l->err, "the saved machine lacks devices that this one has");
        }
        default:
            return fail(l->err, "the saved machine is damaged: unknown section %u", (unsigned)kind);
        }
    }
    return false;
}

static void flush_vcpus(Machine *m)
{
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        VCpu *cpu = m->vcpus[i];
        if (cpu->accel && cpu->accel->flush_tlb) {
            cpu->accel->flush_tlb(cpu);
        }
    }
}

bool vm_state_load(Machine *m, const VmSource *from, GError **err)
{
    Loader l = {
        .m = m, .from = from, .crc = crc32(0, NULL, 0), .blocks = g_ptr_array_new(), .err = err};
    uint64_t now = 0;
    int64_t offset = 0;
    bool ok = get_header(&l, &now, &offset);

    if (ok) {
        machine_reset(m); /* what no table has starts from there */
        /* Deadlines in the tables are times of this clock. */
        clock_set(m->virtual_clock, now);
        clock_set_offset(m->host_clock, offset);
        mem_transaction_begin();
        ok = load_sections(&l);
        mem_transaction_commit();
        if (!ok) {
            machine_reset(m);
        }
        flush_vcpus(m);
    }
    g_ptr_array_free(l.blocks, TRUE);
    return ok;
}
