/*
 * Blocks: translation, lookup, links between blocks, invalidation. One cache per vCPU, touched
 * by its thread only (or while it is stopped); what others want comes through vcpu_queue().
 *
 * Code memory is a memfd mapped twice, writable and executable, cut into segments that are
 * filled one after the other; when the next one is not empty its blocks are evicted.
 */
#include "accel/jit/host/host.h"
#include "accel/jit/jit-internal.h"
#include "core/disas.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { THUNK_BYTES = 64 << 10 };

/* ---- memory ---- */

bool jit_cache_init(JitCpu *j, GError **err)
{
    size_t seg_size = (j->o->tb_size / JIT_SEGMENTS) & ~(size_t)4095;
    JitJumpEntry *jc = jit_jump_cache(j->cpu);

    j->code_size = THUNK_BYTES + seg_size * JIT_SEGMENTS;
    j->code_fd = memfd_create("rhea-jit", MFD_CLOEXEC);
    if (j->code_fd < 0 || ftruncate(j->code_fd, j->code_size) < 0) {
        return fail(err, "cannot allocate %zu bytes for translated code: %s", j->code_size,
                    g_strerror(errno));
    }
    j->code_rw = mmap(NULL, j->code_size, PROT_READ | PROT_WRITE, MAP_SHARED, j->code_fd, 0);
    j->code_rx = mmap(NULL, j->code_size, PROT_READ | PROT_EXEC, MAP_SHARED, j->code_fd, 0);
    if (j->code_rw == MAP_FAILED || j->code_rx == MAP_FAILED) {
        return fail(err, "cannot map memory for translated code: %s", g_strerror(errno));
    }
    for (unsigned i = 0; i < JIT_SEGMENTS; i++) {
        JitSegment *s = &j->seg[i];

        s->start = s->p = j->code_rw + THUNK_BYTES + seg_size * i;
        s->end = s->start + seg_size;
        s->blocks = g_ptr_array_new();
        s->meta_size = seg_size * 3;
        s->meta = mmap(NULL, s->meta_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (s->meta == MAP_FAILED) {
            return fail(err, "cannot map memory for block descriptions: %s", g_strerror(errno));
        }
    }
    j->ir = g_new0(IrBlock, 1);
    j->jc_local = g_new(uint16_t, JIT_JC_LOCAL);
    j->gen = jit_gen_new(j);
    g_assert(jit_host_thunks(j, j->code_rw) < THUNK_BYTES);
    for (unsigned i = 0; i < JIT_JC_SIZE; i++) {
        jc[i] = (JitJumpEntry){.tag = 0, .host = (void *)j->thunk_empty};
    }
    j->next_ctx = 1;
    jit_ctx_set(j, 0);
    return true;
}

void jit_cache_fini(JitCpu *j)
{
    if (j->gen) {
        jit_cache_flush(j);
        jit_gen_free(j->gen);
    }
    for (unsigned i = 0; i < JIT_SEGMENTS; i++) {
        JitSegment *s = &j->seg[i];

        if (s->blocks) {
            g_ptr_array_free(s->blocks, TRUE);
        }
        if (s->meta && s->meta != MAP_FAILED) {
            munmap(s->meta, s->meta_size);
        }
    }
    for (unsigned i = 0; i < 1u << JIT_PAGE_HASH_BITS; i++) {
        while (j->pages[i]) {
            JitCodePage *p = j->pages[i];

            j->pages[i] = p->next;
            g_free(p);
        }
    }
    if (j->code_rw && j->code_rw != MAP_FAILED) {
        munmap(j->code_rw, j->code_size);
    }
    if (j->code_rx && j->code_rx != MAP_FAILED) {
        munmap(j->code_rx, j->code_size);
    }
    if (j->code_fd > 0) {
        close(j->code_fd);
    }
    g_free(j->ir);
    g_free(j->jc_local);
}

void *jit_meta_alloc(JitSegment *s, size_t size)
{
    void *p;

    size = (size + 7) & ~(size_t)7;
    if (s->meta_used + size > s->meta_size) {
        return NULL;
    }
    p = s->meta + s->meta_used;
    s->meta_used += size;
    return p;
}

/* ---- tables ---- */

static JitBlock **hash_slot(JitCpu *j, uint64_t pc, uint64_t mode, uint64_t ram_page)
{
    uint64_t h = (pc ^ mode * 0x9e3779b97f4a7c15ull ^ ram_page << 20) * 0xff51afd7ed558ccdull;

    return &j->hash[h >> (64 - JIT_HASH_BITS)];
}

static JitCodePage *find_page(JitCpu *j, uint64_t ram_page, bool create)
{
    JitCodePage **head =
        &j->pages[(ram_page ^ ram_page >> JIT_PAGE_HASH_BITS) & ((1u << JIT_PAGE_HASH_BITS) - 1)];
    JitCodePage *p;

    for (p = *head; p; p = p->next) {
        if (p->ram_page == ram_page) {
            return p;
        }
    }
    if (create) {
        p = g_new0(JitCodePage, 1);
        p->ram_page = ram_page;
        p->next = *head;
        *head = p;
    }
    return p;
}

/* Which of the block's pages is @ram_page. */
static unsigned which_page(const JitBlock *b, uint64_t ram_page)
{
    return b->ram_page[0] == ram_page ? 0 : 1;
}

static unsigned distinct_pages(const JitBlock *b)
{
    return b->n_pages == 2 && b->ram_page[0] != b->ram_page[1] ? 2 : 1;
}

static void enter_block(JitCpu *j, JitBlock *b)
{
    JitBlock **slot = hash_slot(j, b->pc, b->mode, b->ram_page[0]);

    b->hash_next = *slot;
    *slot = b;
    for (unsigned i = 0; i < distinct_pages(b); i++) {
        JitCodePage *p = find_page(j, b->ram_page[i], true);

        p->dirty = j->block_page[i].dirty;
        b->page_next[i] = p->blocks;
        p->blocks = b;
    }
}

/* Point the jump at @off of the block to @target. */
static void patch(JitCpu *j, const JitBlock *b, uint32_t off, const void *target)
{
    uint32_t at = b->host - j->code_rx + off;

    jit_host_patch(j->code_rw + at, j->code_rx + at, target);
}

static void link_exit(JitCpu *j, JitExit *e, JitBlock *to)
{
    JitBlock *b = e->from;

    patch(j, b, e->jump_off, to->host);
    e->to = to;
    e->next_in = to->in;
    to->in = e;
    j->st.links++;
    if (to->kills_flags && j->o->lazyflags && (e->cond_off || e->pack_off)) {
        const uint8_t *way = e->lite_off ? b->host + e->lite_off : to->host;

        e->packing_skipped = true;
        j->st.links_lite++;
        if (e->lite_off) {
            patch(j, b, e->lite_jump_off, to->host);
        }
        if (e->cond_off) {
            patch(j, b, e->cond_off, way);
        } else {
            uint32_t at = b->host - j->code_rx + e->pack_off;

            memcpy(e->pack_bytes, j->code_rw + at, 5);
            jit_host_put_jump(j->code_rw + at, j->code_rx + at, way);
        }
    }
}

static void unlink_exit(JitCpu *j, JitExit *e)
{
    JitBlock *b = e->from;

    patch(j, b, e->jump_off, b->host + e->stub_off);
    if (e->packing_skipped) {
        e->packing_skipped = false;
        if (e->cond_off) {
            patch(j, b, e->cond_off, b->host + e->full_off);
        } else {
            memcpy(j->code_rw + (b->host - j->code_rx) + e->pack_off, e->pack_bytes, 5);
        }
    }
    e->to = NULL;
}

void jit_block_invalidate(JitCpu *j, JitBlock *b)
{
    JitBlock **link;
    JitJumpEntry *jc = &jit_jump_cache(j->cpu)[jit_jump_index(b->pc)];

    if (b->dead) {
        return;
    }
    b->dead = true;
    if (b->one_shot) {
        return;
    }
    j->st.invalidated++;
    for (link = hash_slot(j, b->pc, b->mode, b->ram_page[0]); *link; link = &(*link)->hash_next) {
        if (*link == b) {
            *link = b->hash_next;
            break;
        }
    }
    for (unsigned i = 0; i < distinct_pages(b); i++) {
        JitCodePage *p = find_page(j, b->ram_page[i], false);

        for (link = &p->blocks; *link; link = &(*link)->page_next[which_page(*link, p->ram_page)]) {
            if (*link == b) {
                *link = b->page_next[i];
                break;
            }
        }
    }
    for (JitExit *e = b->in, *next; e; e = next) {
        next = e->next_in;
        unlink_exit(j, e);
    }
    b->in = NULL;
    for (unsigned i = 0; i < b->n_exits; i++) {
        JitExit *e = &jit_exits(b)[i], **in;

        if (!e->to) {
            continue;
        }
        for (in = &e->to->in; *in; in = &(*in)->next_in) {
            if (*in == e) {
                *in = e->next_in;
                break;
            }
        }
        e->to = NULL;
    }
    if (jc->host == b->host) {
        jc->tag = 0;
        jc->host = (void *)j->thunk_empty;
    }
}

static GMutex *page_lock(JitMachine *m, uint64_t ram_page)
{
    return &m->page_lock[ram_page % JIT_PAGE_LOCKS];
}

void jit_code_mark(JitCpu *j, const JitPageEntry *e, unsigned off)
{
    uint64_t *map = &j->m->code_map[e->ram_page], bit = 1ull << (off >> 6);
    uint32_t *who = &j->m->code_vcpu[e->ram_page], mine = jit_vcpu_own(j->cpu);
    GMutex *lock = page_lock(j->m, e->ram_page);

    /* With this vCPU among the users nobody else takes bits away. */
    if ((__atomic_load_n(who, __ATOMIC_RELAXED) & mine) &&
        (__atomic_load_n(map, __ATOMIC_RELAXED) & bit)) {
        return;
    }
    find_page(j, e->ram_page, true)->dirty = e->dirty;
    g_mutex_lock(lock);
    __atomic_or_fetch(who, jit_vcpu_bit(j->cpu), __ATOMIC_SEQ_CST);
    __atomic_or_fetch(map, bit, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(e->dirty, __ATOMIC_SEQ_CST) & MEM_DIRTY_CODE) {
        jit_tlb_protect(j, e);
    }
    g_mutex_unlock(lock);
}

/* Recompute what of the page is code, as far as this vCPU knows: all of it when nobody else has
 * blocks there. Not between the decoding of a block and its entry in the tables. */
static void refresh_page(JitCpu *j, uint64_t ram_page)
{
    uint64_t bits = 0;
    JitCodePage *p = find_page(j, ram_page, false);
    uint32_t *who = &j->m->code_vcpu[ram_page], mine = jit_vcpu_own(j->cpu);
    GMutex *lock = page_lock(j->m, ram_page);

    for (JitBlock *b = p ? p->blocks : NULL; b; b = b->page_next[which_page(b, ram_page)]) {
        unsigned lo = b->page_off, hi = b->page_off + MAX(b->guest_bytes, 1);

        if (b->ram_page[0] == ram_page) {
            for (unsigned g = lo >> 6; g <= (MIN(hi, 4096) - 1) >> 6; g++) {
                bits |= 1ull << g;
            }
        }
        if (b->n_pages == 2 && b->ram_page[1] == ram_page && hi > 4096) {
            for (unsigned g = 0; g <= (hi - 4096 - 1) >> 6; g++) {
                bits |= 1ull << g;
            }
        }
    }
    g_mutex_lock(lock);
    if (!bits) {
        __atomic_and_fetch(who, ~mine, __ATOMIC_SEQ_CST);
    }
    if (!(__atomic_load_n(who, __ATOMIC_SEQ_CST) & ~mine)) {
        __atomic_store_n(&j->m->code_map[ram_page], bits, __ATOMIC_SEQ_CST);
        if (!bits && p && p->dirty) { /* an ordinary page again */
            __atomic_or_fetch(p->dirty, MEM_DIRTY_CODE, __ATOMIC_SEQ_CST);
        }
    }
    g_mutex_unlock(lock);
    j->fetch_granule = UINT64_MAX;
    j->fetch_page = UINT64_MAX;
}

static void evict_segment(JitCpu *j, JitSegment *s)
{
    if (s->blocks->len) {
        j->st.evictions++;
        j->evictions++;
        jit_check_forget(j);
    }
    for (unsigned i = 0; i < s->blocks->len; i++) {
        JitBlock *b = g_ptr_array_index(s->blocks, i);

        jit_block_invalidate(j, b);
        if (!b->host_size) {
            ir_code_free(*jit_code(b));
        }
    }
    g_ptr_array_set_size(s->blocks, 0);
    s->p = s->start;
    s->meta_used = 0;
}

void jit_cache_flush(JitCpu *j)
{
    for (unsigned i = 0; i < JIT_SEGMENTS; i++) {
        evict_segment(j, &j->seg[i]);
    }
    j->cur_seg = 0;
}

JitBlock *jit_block_by_host(JitCpu *j, const void *host)
{
    const uint8_t *h = host;
    const JitSegment *s;
    unsigned lo = 0, hi, seg;

    if (h < j->code_rx + THUNK_BYTES || h >= j->code_rx + j->code_size) {
        return NULL;
    }
    seg = (h - j->code_rx - THUNK_BYTES) / (j->seg[0].end - j->seg[0].start);
    s = &j->seg[seg];
    hi = s->blocks->len;
    /* The last one that starts before h: a return address may be where the next block starts. */
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        const JitBlock *b = g_ptr_array_index(s->blocks, mid);

        if (b->host < h) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (!lo) {
        return NULL;
    }
    JitBlock *b = g_ptr_array_index(s->blocks, lo - 1);

    return h <= b->host + b->host_size ? b : NULL;
}

/* ---- translation ---- */

bool jit_is_break(JitCpu *j, uint64_t linear)
{
    GArray *a = j->cpu->breakpoints;

    for (unsigned i = 0; a && i < a->len; i++) {
        if (g_array_index(a, uint64_t, i) == linear) {
            return true;
        }
    }
    return false;
}

static void decode(JitCpu *j, uint64_t pc, uint64_t mode, unsigned max)
{
    j->fetch_page = UINT64_MAX;
    j->n_block_pages = 0;
    j->block_io = false;
    j->fetch_mmu = j->t->mmu_index(mode);
    j->block_lin = j->t->linear_pc(j->cpu, pc, mode);
    ir_begin(j->ir, j->t, pc, mode);
    j->t->translate(j->cpu, j->ir, max);
}

/* Decode, ending the block before breakpoints. */
static void decode_block(JitCpu *j, uint64_t pc, uint64_t mode, unsigned max)
{
    unsigned n = 0;

    decode(j, pc, mode, max);
    if (!j->cpu->breakpoints || !j->cpu->breakpoints->len) {
        return;
    }
    for (unsigned i = 0; i < j->ir->n_insns; i++) {
        const IrInsn *in = &j->ir->insns[i];

        if (in->op != IR_INSN) {
            continue;
        }
        if (n && jit_is_break(j, j->t->linear_pc(j->cpu, in->imm, mode))) {
            decode(j, pc, mode, n);
            return;
        }
        n++;
    }
}

void jit_decode(JitCpu *j, uint64_t pc, uint64_t mode, unsigned max)
{
    decode(j, pc, mode, max);
}

static void log_block(JitCpu *j, const JitBlock *b)
{
    if (log_on(LOG_IN_ASM)) {
        GString *s = g_string_new(NULL);
        g_autofree uint8_t *bytes = g_malloc(b->guest_bytes + 1);
        unsigned n = 0;

        g_string_printf(s, "IN: 0x%" G_GINT64_MODIFIER "x mode 0x%" G_GINT64_MODIFIER "x, %u:\n",
                        b->pc, b->mode, b->n_guest);
        while (n < b->guest_bytes && jit_fetch(j->cpu, j->block_lin + n, &bytes[n])) {
            n++;
        }
        disas_bytes(j->cpu, j->block_lin, bytes, n, s);
        g_string_truncate(s, s->len - (s->len && s->str[s->len - 1] == '\n'));
        log_line(LOG_IN_ASM, "%s", s->str);
        g_string_free(s, TRUE);
    }
    if (log_on(LOG_IR)) {
        char *text = ir_dump(j->ir);

        log_line(LOG_IR, "%s", text);
        g_free(text);
    }
    if (log_on(LOG_OUT_ASM) && b->host) {
        char *text = jit_host_disas(b->host, b->host_size, (uintptr_t)b->host);

        log_line(LOG_OUT_ASM, "OUT: 0x%" G_GINT64_MODIFIER "x, %u guest instructions, %u bytes\n%s",
                 b->pc, b->n_guest, b->host_size, text);
        g_free(text);
    }
}

static void next_segment(JitCpu *j)
{
    j->cur_seg = (j->cur_seg + 1) % JIT_SEGMENTS;
    evict_segment(j, &j->seg[j->cur_seg]);
}

static void fill_block(JitCpu *j, JitBlock *b, bool one_shot)
{
    const IrBlock *ir = j->ir;

    *b = (JitBlock){
        .pc = ir->pc,
        .mode = ir->mode,
        .n_guest = ir->n_guest,
        .guest_bytes = ir->guest_bytes,
        .mmu = j->fetch_mmu,
        .page_off = j->block_lin & MEM_PAGE_MASK,
        .n_pages = MAX(j->n_block_pages, 1),
        .one_shot = one_shot || ir->transient || j->block_io || !j->n_block_pages,
        .is_break = jit_is_break(j, j->block_lin),
        .kills_flags = jit_kills_flags(ir),
    };
    for (unsigned i = 0; i < 2; i++) {
        b->ram_page[i] =
            i < j->n_block_pages && j->block_page[i].host ? j->block_page[i].ram_page : JIT_NO_PAGE;
    }
    /* Bytes that were looked at but belong to no instruction of it do not count. */
    if (b->n_pages == 2 && b->page_off + b->guest_bytes <= MEM_PAGE_SIZE) {
        b->n_pages = 1;
    }
}

/* Put j->ir's code into the cache; NULL: too complex for the host. */
static JitBlock *emit_block(JitCpu *j, bool one_shot)
{
    for (unsigned tries = 0;; tries++) {
        JitSegment *s = &j->seg[j->cur_seg];
        size_t used = s->meta_used;
        JitBlock *b;
        long n = 0;

        b = jit_meta_alloc(s, sizeof *b);

        g_assert(tries < 3);
        if (b) {
            fill_block(j, b, one_shot);
            if (j->o->run_mode == JIT_MODE_INTERP) {
                struct IrCode **code = jit_meta_alloc(s, sizeof *code);

                b->host = s->p + (j->code_rx - j->code_rw);
                n = 16; /* an address of its own */
                n = s->p + n > s->end || !code ? 0 : n;
                if (n) {
                    *code = ir_code_new(j->ir);
                }
            } else {
                n = jit_host_emit(j, j->gen, j->ir, b, s, s->p, s->end - s->p);
            }
        }
        if (n > 0) {
            s->p += (n + 15) & ~15l;
            s->p = MIN(s->p, s->end);
            g_ptr_array_add(s->blocks, b);
            return b;
        }
        s->meta_used = used;
        if (n < 0) {
            return NULL;
        }
        next_segment(j);
    }
}

static JitBlock *translate(JitCpu *j, uint64_t pc, uint64_t mode, bool one_step)
{
    gint64 t0 = g_get_monotonic_time();
    unsigned max = one_step || j->single ? 1 : MIN(j->o->max_insns, j->t->max_block);
    JitBlock *b;

    j->single = false;
    decode_block(j, pc, mode, max);
#ifdef RHEA_DEBUG
    char *msg = ir_verify(j->ir);

    if (msg) {
        char *text = ir_dump(j->ir);

        g_error("bad IR: %s\n%s", msg, text);
    }
#endif
    while (!(b = emit_block(j, one_step))) {
        g_assert(j->ir->n_guest > 1); /* one instruction always fits */
        j->st.retries++;
        decode_block(j, pc, mode, j->ir->n_guest / 2);
    }
    if (!b->one_shot) {
        enter_block(j, b);
    }
    j->st.blocks++;
    j->st.insns += b->n_guest;
    j->st.guest_bytes += b->guest_bytes;
    j->st.host_bytes += b->host_size;
    j->st.translate_ns += (g_get_monotonic_time() - t0) * 1000;
    if (G_UNLIKELY(log_mask & (LOG_IN_ASM | LOG_IR | LOG_OUT_ASM))) {
        log_block(j, b);
    }
    return b;
}

static bool second_page_ok(JitCpu *j, const JitBlock *b, uint64_t lin, unsigned mmu)
{
    JitPageEntry *e;

    if (b->n_pages < 2) {
        return true;
    }
    e = jit_page(j, (lin & ~MEM_PAGE_MASK) + MEM_PAGE_SIZE, JIT_EXEC, mmu, true);
    j->got_global = j->got_global && e && e->global;
    return e && e->ram_page == b->ram_page[1];
}

static void fetched_from(JitCpu *j, uint64_t lin, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++) {
        uint64_t page = (lin >> MEM_PAGE_BITS) + i, *seen = &j->fetch_seen[page % JIT_SEEN];

        *seen = *seen == 0 || *seen == page + 1 ? page + 1 : JIT_SEEN_MORE;
    }
}

JitBlock *jit_block_get(JitCpu *j, uint64_t pc, uint64_t mode, bool one_step)
{
    uint64_t lin = j->t->linear_pc(j->cpu, pc, mode);
    unsigned mmu = j->t->mmu_index(mode);
    JitPageEntry *e;

    j->st.lookups++;
    if (!one_step && (e = jit_page(j, lin, JIT_EXEC, mmu, true)) && e->host) {
        uint64_t ram_page = e->ram_page;
        bool global = e->global;

        for (JitBlock *b = *hash_slot(j, pc, mode, ram_page); b; b = b->hash_next) {
            j->got_global = global;
            if (b->pc == pc && b->mode == mode && b->ram_page[0] == ram_page &&
                second_page_ok(j, b, lin, mmu)) {
                if (j->single && b->n_guest > 1) {
                    jit_block_invalidate(j, b);
                    break;
                }
                j->single = false;
                fetched_from(j, lin, b->n_pages);
                return b;
            }
        }
    }
    j->st.lookup_misses++;
    fetched_from(j, lin, 2);
    JitBlock *b = translate(j, pc, mode, one_step);

    j->got_global = j->n_block_pages > 0;
    for (unsigned i = 0; i < j->n_block_pages; i++) {
        j->got_global = j->got_global && j->block_page[i].global;
    }
    return b;
}

/* ---- links ---- */

void *jit_link(VCpu *cpu, const void *stub_ret)
{
    JitCpu *j = jit_cpu(cpu);
    JitBlock *b = jit_block_by_host(j, stub_ret), *to;
    JitExit *e = NULL;
    uint32_t evictions = j->evictions;
    uint64_t pc;

    g_assert(b);
    for (unsigned i = 0; i < b->n_exits; i++) {
        if (b->host + jit_exits(b)[i].stub_off + 5 == (const uint8_t *)stub_ret) {
            e = &jit_exits(b)[i];
        }
    }
    g_assert(e);
    pc = b->pc + (int64_t)e->pc_delta;
    if (b->one_shot || j->o->run_mode == JIT_MODE_CHECK ||
        __atomic_load_n(&j->view_changed, __ATOMIC_RELAXED)) {
        goto dispatch;
    }
    to = jit_block_get(j, pc, b->mode, false);
    if (to->is_break || !to->host_size) {
        goto dispatch;
    }
    if (evictions == j->evictions && !b->dead && !e->to && !to->one_shot) {
        if (to->n_pages == 1 && to->ram_page[0] == b->ram_page[0]) {
            link_exit(j, e, to);
        } else {
            /* The target's second page may be mapped anew: looked up each time, here. */
            j->st.link_refused++;
        }
    }
    return to->host;
dispatch:
    memcpy((char *)cpu + j->t->pc_off, &pc, 8);
    return (void *)j->thunk_exit[JIT_EXIT_LOOKUP];
}

void jit_jump_cache_put(JitCpu *j, uint64_t pc, JitBlock *b)
{
    JitJumpEntry *e = &jit_jump_cache(j->cpu)[jit_jump_index(pc)];
    int64_t top = (int64_t)pc >> 48;

    /* Only addresses of 48 bits, sign-extended: the tag's upper bits hold the context. */
    if (!b->one_shot && !b->is_break && b->host_size && !b->dead && (top == 0 || top == -1)) {
        if (!j->got_global) {
            if (j->n_jc_local == JIT_JC_LOCAL) {
                jit_fetch_flush(j);
            }
            j->jc_local[j->n_jc_local++] = jit_jump_index(pc);
        }
        e->tag = pc ^ jit_hot(j->cpu)->ctx;
        e->host = b->host;
    }
}

static uint16_t new_ctx_id(JitCpu *j)
{
    if (j->next_ctx >= JIT_NO_CTX) {
        JitJumpEntry *jc = jit_jump_cache(j->cpu);

        for (unsigned i = 0; i < JIT_JC_SIZE; i++) {
            jc[i] = (JitJumpEntry){.tag = 0, .host = (void *)j->thunk_empty};
        }
        memset(j->ctx, 0, sizeof j->ctx);
        j->next_ctx = 1;
    }
    j->st.ctx_new++;
    return j->next_ctx++;
}

void jit_ctx_set(JitCpu *j, uint64_t mode)
{
    JitCtx *c = NULL, *old = &j->ctx[0];

    for (unsigned i = 0; i < JIT_CTXS && !c; i++) {
        JitCtx *x = &j->ctx[i];

        if (x->mode == mode && x->id && x->gen == j->fetch_gen) {
            c = x;
        } else if (!x->id || x->gen != j->fetch_gen) {
            old = x;
        }
    }
    if (!c) {
        uint16_t id = new_ctx_id(j);

        c = old->id && old->gen == j->fetch_gen ? &j->ctx[id % JIT_CTXS] : old;
        *c = (JitCtx){.mode = mode, .gen = j->fetch_gen, .id = id};
    } else if (c != &j->ctx[0]) { /* the one used last is found first */
        JitCtx t = *c;

        *c = j->ctx[0];
        j->ctx[0] = t;
        c = &j->ctx[0];
    }
    j->ctx_mode = mode;
    jit_hot(j->cpu)->ctx = (uint64_t)c->id << 48;
}

static void clear_jump(JitCpu *j, JitJumpEntry *e)
{
    e->tag = 0;
    e->host = (void *)j->thunk_empty;
}

void jit_fetch_flush_local(JitCpu *j)
{
    JitJumpEntry *jc = jit_jump_cache(j->cpu);

    for (unsigned i = 0; i < j->n_jc_local; i++) {
        clear_jump(j, &jc[j->jc_local[i]]);
    }
    j->n_jc_local = 0;
}

void jit_fetch_flush_page(JitCpu *j, uint64_t page)
{
    JitJumpEntry *jc = jit_jump_cache(j->cpu);

    /* By the low bits of pc that equal those of the linear address only when the code segment's
     * base is page-aligned; then also what starts in the page before and may cross into this. */
    if ((j->t->linear_pc(j->cpu, 0, j->ctx_mode) & 0xffff) != 0) {
        jit_fetch_flush(j);
        return;
    }
    for (unsigned i = 0; i < 2 * MEM_PAGE_SIZE; i++) {
        clear_jump(j, &jc[(page - MEM_PAGE_SIZE + i) & (JIT_JC_SIZE - 1)]);
    }
}

void jit_fetch_flush(JitCpu *j)
{
    j->fetch_gen++;
    j->n_jc_local = 0;
    memset(j->fetch_seen, 0, sizeof j->fetch_seen);
    jit_ctx_set(j, j->ctx_mode);
}

/* ---- overwritten code ---- */

/* Do bytes [lo, hi) of @ram_page belong to the block? */
static bool overlaps(const JitBlock *b, uint64_t ram_page, unsigned lo, unsigned hi)
{
    unsigned from = b->page_off, to = b->page_off + MAX(b->guest_bytes, 1);

    if (b->ram_page[0] == ram_page && lo < MIN(to, MEM_PAGE_SIZE) && hi > from) {
        return true;
    }
    return b->n_pages == 2 && b->ram_page[1] == ram_page && to > MEM_PAGE_SIZE &&
           lo < to - MEM_PAGE_SIZE;
}

typedef struct CodeWork {
    JitMachine *m;
    const uint8_t *host;
    uint64_t ram_page, len;
    unsigned off;
    VCpu *from;
    uint8_t *dirty;
} CodeWork;

static void written_elsewhere(VCpu *cpu, void *arg)
{
    CodeWork *w = arg;

    jit_code_written(jit_cpu(cpu), w->ram_page, w->off, w->len, false);
    g_free(w);
}

/* Queue @w for every vCPU of the mask but @self. */
static void tell(JitMachine *m, uint32_t who, const VCpu *self, void (*work)(VCpu *cpu, void *arg),
                 const CodeWork *w)
{
    for (unsigned i = 0; who && i < m->m->n_vcpus; i++) {
        VCpu *o = m->m->vcpus[i];

        if (o != self && (who & jit_vcpu_bit(o))) {
            vcpu_queue(o, work, g_memdup2(w, sizeof *w));
        }
    }
}

static uint64_t granules(unsigned off, unsigned len)
{
    uint64_t mask = 0;

    for (unsigned g = off >> 6; g <= (off + len - 1) >> 6 && g < 64; g++) {
        mask |= 1ull << g;
    }
    return mask;
}

void jit_code_written_tell(JitCpu *j, uint64_t ram_page, unsigned off, unsigned len)
{
    CodeWork w = {.ram_page = ram_page, .off = off, .len = len};
    uint32_t who;

    if (ram_page >= j->m->map_pages || !len ||
        !(__atomic_load_n(&j->m->code_map[ram_page], __ATOMIC_SEQ_CST) & granules(off, len))) {
        return;
    }
    who = __atomic_load_n(&j->m->code_vcpu[ram_page], __ATOMIC_SEQ_CST);
    tell(j->m, who & ~jit_vcpu_own(j->cpu), j->cpu, written_elsewhere, &w);
}

void jit_code_written(JitCpu *j, uint64_t ram_page, unsigned off, unsigned len, bool store)
{
    uint64_t bits, mask, pc;
    JitCodePage *p;
    JitBlock *running = NULL, *b, *next;
    bool restart = false, hit = false, all = false;

    if (ram_page >= j->m->map_pages || !len) {
        return;
    }
    j->st.code_writes++;
    bits = __atomic_load_n(&j->m->code_map[ram_page], __ATOMIC_SEQ_CST);
    mask = granules(off, len);
    p = find_page(j, ram_page, true);
    if (++p->writes >= MAX(p->patience, 32)) {
        /* Data by now, or mixed: dropping the blocks makes writes fast; if code is run there
         * again it gets more patience. */
        all = true;
        p->writes = 0;
        p->patience = MIN(MAX(p->patience, 32) * 2, 1u << 20);
        jit_code_written_tell(j, ram_page, 0, MEM_PAGE_SIZE);
    } else if (!(bits & mask)) {
        return;
    }
    if (store) {
        jit_current_pc(j, &pc, &running);
        restart = running && running->n_guest > 1 && overlaps(running, ram_page, off, off + len);
    }
    for (b = p->blocks; b; b = next) {
        next = b->page_next[which_page(b, ram_page)];
        if (all || overlaps(b, ram_page, off, off + len)) {
            jit_block_invalidate(j, b);
            hit = true;
        }
    }
    if (hit || !p->blocks) {
        refresh_page(j, ram_page);
    }
    if (restart) {
        j->st.restarts++;
        j->single = true;
        jit_restore(j);
        jit_unwind(j, JIT_EXIT_RESTART);
    }
}

/* ---- hooks of the memory map: any thread, machine lock ---- */

static void code_written_hook(void *opaque, MemRegion *r, uint64_t off, uint64_t len)
{
    JitMachine *m = opaque;
    uint64_t end = off + len;

    while (off < end) {
        uint64_t n = MIN(end - off, MEM_PAGE_SIZE - (off & MEM_PAGE_MASK));
        uint64_t page = (r->ram_index + off) >> MEM_PAGE_BITS;

        if (page < m->map_pages && __atomic_load_n(&m->code_map[page], __ATOMIC_SEQ_CST)) {
            uint32_t who = __atomic_load_n(&m->code_vcpu[page], __ATOMIC_SEQ_CST);

            CodeWork w = {.ram_page = page, .off = off & MEM_PAGE_MASK, .len = n};

            tell(m, who, NULL, written_elsewhere, &w);
        }
        off += n;
    }
}

/* vCPU thread: drop write fast paths; what may have been written meanwhile is dirty. */
static void drop_writes(VCpu *cpu, void *arg)
{
    CodeWork *w = arg;
    JitCpu *j = jit_cpu(cpu);
    const uint8_t *host = w->host;

    jit_tlb_drop_writes(j, host, w->len);
    for (uint64_t i = 0; i < w->len >> MEM_PAGE_BITS; i++) {
        uint32_t *who = &w->m->write_vcpu[w->ram_page + i];

        if (__atomic_load_n(who, __ATOMIC_SEQ_CST) & jit_vcpu_bit(cpu)) {
            __atomic_and_fetch(who, ~jit_vcpu_own(cpu), __ATOMIC_SEQ_CST);
            if (w->from) {
                continue;
            }
            __atomic_or_fetch(&w->dirty[i], MEM_DIRTY_ALL & ~MEM_DIRTY_CODE, __ATOMIC_SEQ_CST);
        }
    }
    if (w->from) {
        /* Code was translated while this vCPU could still write it unseen. */
        CodeWork again = {.ram_page = w->ram_page, .off = 0, .len = MEM_PAGE_SIZE};

        vcpu_queue(w->from, written_elsewhere, g_memdup2(&again, sizeof again));
    }
    g_free(w);
}

static void made_clean_hook(void *opaque, MemRegion *r, uint64_t off, uint64_t len)
{
    JitMachine *m = opaque;
    uint64_t first = (r->ram_index + off) >> MEM_PAGE_BITS, n = len >> MEM_PAGE_BITS;
    uint32_t who = 0;

    for (uint64_t i = 0; i < n && first + i < m->map_pages; i++) {
        who |= __atomic_load_n(&m->write_vcpu[first + i], __ATOMIC_SEQ_CST);
    }
    CodeWork w = {.m = m,
                  .host = r->host + off,
                  .dirty = r->dirty + (off >> MEM_PAGE_BITS),
                  .ram_page = first,
                  .len = n << MEM_PAGE_BITS};

    tell(m, who, NULL, drop_writes, &w);
}

const MemAccelHooks jit_mem_hooks = {.code_written = code_written_hook,
                                     .made_clean = made_clean_hook};

void jit_others_protect(JitCpu *j, const JitPageEntry *e)
{
    CodeWork w = {
        .m = j->m, .host = e->host, .ram_page = e->ram_page, .len = MEM_PAGE_SIZE, .from = j->cpu};

    tell(j->m, __atomic_load_n(&j->m->write_vcpu[e->ram_page], __ATOMIC_SEQ_CST), j->cpu,
         drop_writes, &w);
}
