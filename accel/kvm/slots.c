/*
 * Guest memory as the kernel sees it: each RAM and ROM range of the flat view is a memory slot.
 * ROM and write-protected RAM are read-only slots, whose writes exit as MMIO; without that
 * capability they are no slot and every access exits. A region gets a dirty log when somebody first
 * asks for its dirty bits (a display, migration).
 */
#include "accel/jit/jit.h"
#include "accel/kvm/kvm-int.h"
#include "core/log.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

enum { ZAP_ID = 0, FIRST_ID = 1, DISPLAY_US = 4000 };
/* Of the page that kvm_zap() adds and removes: between HPET and local APIC nothing else is. */
#define ZAP_ADDR 0xfeffb000ull

/* ---- one slot ---- */

static uint32_t flags_of(const KvmSlot *s)
{
    return (s->readonly ? KVM_MEM_READONLY : 0) | (s->logged ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

static int tell(KvmMachine *k, const KvmSlot *s, bool remove)
{
    struct kvm_userspace_memory_region r = {
        .slot = s->id,
        .flags = flags_of(s),
        .guest_phys_addr = s->addr,
        .memory_size = remove ? 0 : s->size,
        .userspace_addr = (uintptr_t)s->region->host + s->off,
    };

    k->st.slot_changes++;
    return kvm_ioctl(k, k->vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static void add_slot(KvmMachine *k, KvmSlot s)
{
    int r;

    s.logged = g_hash_table_contains(k->logged, s.region);
    if (k->free_ids->len) {
        s.id = g_array_index(k->free_ids, uint32_t, k->free_ids->len - 1);
        g_array_set_size(k->free_ids, k->free_ids->len - 1);
    } else if (k->next_id < k->max_slots) {
        s.id = k->next_id++;
    } else {
        /* What has no slot still works, an exit for each access. */
        if (!k->slot_error) {
            k->slot_error = g_strdup_printf("the kernel has only %u memory slots", k->max_slots);
        }
        return;
    }
    r = tell(k, &s, false);
    if (r < 0) {
        if (!k->slot_error) {
            k->slot_error = g_strdup_printf("the kernel refuses %" PRIu64
                                            " KiB of memory \"%s\" at %" PRIx64 ": %s",
                                            s.size >> 10, s.region->name, s.addr, strerror(-r));
            error_report("KVM: %s", k->slot_error);
        }
        g_array_append_val(k->free_ids, s.id);
        return;
    }
    g_array_append_val(k->slots, s);
}

/* Dirty bits of the log, to the region's bytes. */
static void collect(KvmMachine *k, const KvmSlot *s)
{
    uint64_t pages = s->size >> MEM_PAGE_BITS, words = (pages + 63) / 64;
    g_autofree uint64_t *bits = g_new0(uint64_t, words);
    struct kvm_dirty_log log = {.slot = s->id, .dirty_bitmap = bits};

    k->st.dirty_syncs++;
    if (kvm_ioctl(k, k->vm, KVM_GET_DIRTY_LOG, &log) < 0) {
        memset(bits, 0xff, words * 8); /* too many is harmless */
    }
    for (uint64_t w = 0; w < words; w++) {
        for (uint64_t b = bits[w]; b; b &= b - 1) {
            uint64_t p = w * 64 + __builtin_ctzll(b);

            if (p < pages) {
                /* Translated code looks after itself: it is dropped before the jit runs. */
                __atomic_or_fetch(&s->region->dirty[(s->off >> MEM_PAGE_BITS) + p],
                                  MEM_DIRTY_ALL & ~MEM_DIRTY_CODE, __ATOMIC_RELAXED);
            }
        }
    }
}

static void remove_slot(KvmMachine *k, unsigned i)
{
    KvmSlot s = g_array_index(k->slots, KvmSlot, i);

    if (s.logged) {
        collect(k, &s);
    }
    tell(k, &s, true);
    g_array_append_val(k->free_ids, s.id);
    g_array_remove_index_fast(k->slots, i);
}

/* ---- following the flat view ---- */

/* The whole pages of a range; false: it is no memory, or has none. */
static bool slot_of(const KvmMachine *k, const FlatRange *r, KvmSlot *s)
{
    uint64_t skip = -r->addr & MEM_PAGE_MASK;

    if ((r->region->kind != MEM_RAM && r->region->kind != MEM_ROM) || r->size <= skip) {
        return false;
    }
    *s = (KvmSlot){
        .addr = r->addr + skip,
        .size = (r->size - skip) & ~MEM_PAGE_MASK,
        .off = r->off + skip,
        .region = r->region,
        .readonly = r->readonly || r->region->kind == MEM_ROM,
    };
    return s->size && !(s->off & MEM_PAGE_MASK) && (!s->readonly || k->readonly_mem);
}

static bool same(const KvmSlot *a, const KvmSlot *b)
{
    return a->addr == b->addr && a->size == b->size && a->off == b->off && a->region == b->region &&
           a->readonly == b->readonly;
}

static void view_changed(void *opaque, MemSpace *space, const FlatView *old, const FlatView *now)
{
    KvmMachine *k = opaque;
    g_autoptr(GArray) want = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    KvmSlot s;

    for (unsigned i = 0; i < now->n; i++) {
        if (slot_of(k, &now->ranges[i], &s)) {
            g_array_append_val(want, s);
        }
    }
    for (unsigned i = k->slots->len; i-- > 0;) {
        bool keep = false;

        for (unsigned n = 0; n < want->len && !keep; n++) {
            if (same(&g_array_index(k->slots, KvmSlot, i), &g_array_index(want, KvmSlot, n))) {
                g_array_remove_index_fast(want, n);
                keep = true;
            }
        }
        if (!keep) {
            remove_slot(k, i);
        }
    }
    for (unsigned n = 0; n < want->len; n++) {
        add_slot(k, g_array_index(want, KvmSlot, n));
    }
}

/* ---- hooks of core/memory.h: the jit's, and the dirty log ---- */

static void code_written(void *opaque, MemRegion *r, uint64_t off, uint64_t len)
{
    const MemAccelHooks *h = jit_mem_hooks_of(((KvmMachine *)opaque)->m);

    h->code_written(h->opaque, r, off, len);
}

static void made_clean(void *opaque, MemRegion *r, uint64_t off, uint64_t len)
{
    const MemAccelHooks *h = jit_mem_hooks_of(((KvmMachine *)opaque)->m);

    h->made_clean(h->opaque, r, off, len);
}

static void start_log(KvmMachine *k, MemRegion *r)
{
    g_hash_table_add(k->logged, r);
    for (unsigned i = 0; i < k->slots->len; i++) {
        KvmSlot *s = &g_array_index(k->slots, KvmSlot, i);

        if (s->region == r) {
            s->logged = true;
            if (tell(k, s, false) < 0) {
                s->logged = false;
            }
        }
    }
    /* What was written until now nobody knows. */
    for (uint64_t p = 0; p < r->size >> MEM_PAGE_BITS; p++) {
        __atomic_or_fetch(&r->dirty[p], MEM_DIRTY_ALL & ~MEM_DIRTY_CODE, __ATOMIC_RELAXED);
    }
}

void kvm_sync_dirty(void *opaque, MemRegion *r, uint64_t off, uint64_t len, unsigned client)
{
    KvmMachine *k = opaque;
    int64_t now = g_get_monotonic_time();

    if (!g_hash_table_contains(k->logged, r)) {
        start_log(k, r);
        return;
    }
    for (unsigned i = 0; i < k->slots->len; i++) {
        KvmSlot *s = &g_array_index(k->slots, KvmSlot, i);

        /* A display asks page by page; what comes too late for this frame is in the next one. */
        if (s->region == r && s->logged && s->off < off + len && off < s->off + s->size &&
            !(client == MEM_DIRTY_DISPLAY && now - s->synced < DISPLAY_US)) {
            collect(k, s);
            s->synced = now;
        }
    }
}

/* ---- shadow page tables ---- */

bool kvm_zap(KvmMachine *k)
{
    struct kvm_userspace_memory_region r = {
        .slot = ZAP_ID,
        .guest_phys_addr = ZAP_ADDR,
        .memory_size = MEM_PAGE_SIZE,
        .userspace_addr = (uintptr_t)k->zap_page,
    };
    int a, b;

    /* Removing any slot drops them all. */
    a = kvm_ioctl(k, k->vm, KVM_SET_USER_MEMORY_REGION, &r);
    r.memory_size = 0;
    b = kvm_ioctl(k, k->vm, KVM_SET_USER_MEMORY_REGION, &r);
    return a >= 0 && b >= 0;
}

/* ---- life ---- */

void kvm_slots_start(KvmMachine *k)
{
    Machine *m = k->m;
    FlatView *v;

    k->slots = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    k->free_ids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    k->logged = g_hash_table_new(NULL, NULL);
    k->next_id = FIRST_ID;
    k->zap_page = mmap(NULL, MEM_PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    k->hooks = (MemAccelHooks){
        .code_written = code_written,
        .made_clean = made_clean,
        .sync_dirty = kvm_sync_dirty,
        .opaque = k,
    };
    mem_set_accel_hooks(&k->hooks);
    k->listener = (MemListener){.changed = view_changed, .opaque = k};
    mem_space_add_listener(m->memory, &k->listener);
    k->listening = true;
    v = mem_view_get(m->memory);
    view_changed(k, m->memory, NULL, v);
    mem_view_put(v);
}

void kvm_slots_stop(KvmMachine *k)
{
    if (!k->listening) {
        return;
    }
    mem_space_del_listener(k->m->memory, &k->listener);
    mem_set_accel_hooks(jit_mem_hooks_of(k->m));
    g_array_free(k->slots, TRUE);
    g_array_free(k->free_ids, TRUE);
    g_hash_table_destroy(k->logged);
    munmap(k->zap_page, MEM_PAGE_SIZE);
    k->listening = false;
}
