/*
 * The accelerator: options, vCPU set-up, and the dispatcher that runs blocks, delivers
 * exceptions and lets the target take events.
 *
 * Leaving translated code by an exception is a longjmp to the loop; ordinary exits return.
 */
#include "accel/jit/host/host.h"
#include "accel/jit/ir-eval.h"
#include "accel/jit/jit-internal.h"
#include "accel/jit/jit.h"
#include "core/log.h"
#include "core/option.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* ---- options ---- */

static bool parse_opts(JitOpts *o, const char *text, GError **err)
{
    g_autofree char *mode = NULL;
    uint64_t insns = 0;
    const char *v;
    bool ok;

    *o = (JitOpts){.run_mode = JIT_MODE_JIT, .tb_size = 16u << 20, .max_insns = 256};
#define X(n, d) o->n = true;
    JIT_OPTS(X)
#undef X
    if (!text || !*text) {
        return true;
    }
    Options *opts = options_parse("-accel jit", text, NULL, err);

    if (!opts) {
        return false;
    }
    ok = options_get_size(opts, "tb-size", 1 << 20, &o->tb_size, err) &&
         options_get_uint(opts, "max-insns", 1024, &insns, err);
    v = ok ? options_get(opts, "mode") : NULL;
    if (v) {
        if (!strcmp(v, "jit")) {
            o->run_mode = JIT_MODE_JIT;
        } else if (!strcmp(v, "interp")) {
            o->run_mode = JIT_MODE_INTERP;
        } else if (!strcmp(v, "check")) {
            o->run_mode = JIT_MODE_CHECK;
        } else {
            ok = fail(err, "-accel jit: mode must be jit, interp or check, not '%s'", v);
        }
    }
#define X(n, d) ok = ok && options_get_bool(opts, "opt-" #n, &o->n, err);
    JIT_OPTS(X)
#undef X
    ok = ok && options_check_used(opts, err);
    options_free(opts);
    if (ok && insns) {
        o->max_insns = insns;
    }
    if (ok && (o->tb_size < 2 << 20 || o->tb_size > 1 << 30)) {
        ok = fail(err, "-accel jit: tb-size must be 2M to 1G");
    }
    return ok;
}

char *jit_options_help(void)
{
    GString *s = g_string_new("mode=jit|interp|check\ntb-size=SIZE (translated code per vCPU)\n"
                              "max-insns=N (guest instructions in a block)\n");

#define X(n, d) g_string_append_printf(s, "opt-%s=on|off (%s)\n", #n, d);
    JIT_OPTS(X)
#undef X
    return g_string_free(s, FALSE);
}

/* ---- set-up ---- */

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static bool jit_init(Machine *m, const char *opts, GError **err)
{
    JitMachine *jm = g_new0(JitMachine, 1);

    if (!parse_opts(&jm->opts, opts, err)) {
        g_free(jm);
        return false;
    }
    jm->m = m;
    jm->map_pages = 1u << 26; /* 256 GiB of RAM; what is beyond is translated but not cached */
    jm->code_map = reserve(jm->map_pages * 8);
    jm->code_vcpu = reserve(jm->map_pages * 4);
    jm->write_vcpu = reserve(jm->map_pages * 4);
    if (!jm->code_map || !jm->code_vcpu || !jm->write_vcpu) {
        return fail(err, "cannot reserve address space for the map of code pages");
    }
    g_mutex_init(&jm->atomic_lock);
    g_mutex_init(&jm->vop_lock);
    for (unsigned i = 0; i < JIT_PAGE_LOCKS; i++) {
        g_mutex_init(&jm->page_lock[i]);
    }
    m->accel_data = jm;
    jm->hooks = jit_mem_hooks;
    jm->hooks.opaque = jm;
    mem_set_accel_hooks(&jm->hooks);
    return true;
}

static void jit_fini(Machine *m)
{
    JitMachine *jm = m->accel_data;

    if (!jm) {
        return;
    }
    mem_set_accel_hooks(NULL);
    munmap(jm->code_map, jm->map_pages * 8);
    munmap(jm->code_vcpu, jm->map_pages * 4);
    munmap(jm->write_vcpu, jm->map_pages * 4);
    jit_vop_free(jm);
    g_mutex_clear(&jm->atomic_lock);
    g_mutex_clear(&jm->vop_lock);
    for (unsigned i = 0; i < JIT_PAGE_LOCKS; i++) {
        g_mutex_clear(&jm->page_lock[i]);
    }
    g_free(jm);
    m->accel_data = NULL;
}

static void view_changed(void *opaque, MemSpace *space, const FlatView *old, const FlatView *now)
{
    JitCpu *j = opaque;

    __atomic_store_n(&j->view_changed, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&j->cpu->exit_request, -1, __ATOMIC_SEQ_CST);
}

static void jit_vcpu_fini(VCpu *cpu)
{
    JitCpu *j = jit_cpu(cpu);

    if (!j) {
        return;
    }
    if (j->attached) {
        mem_space_del_listener(j->m->m->memory, &j->listener);
        mem_view_put(j->view);
    }
    jit_cache_fini(j);
    jit_tlb_fini(j);
    jit_interp_free(j);
    jit_check_free(j);
    g_free(j);
    cpu->accel_data = NULL;
}

static bool jit_vcpu_init(VCpu *cpu, GError **err)
{
    JitCpu *j;

    if (!cpu->target->jit) {
        return fail(err, "the jit cannot run %s guests", cpu->target->name);
    }
    j = g_new0(JitCpu, 1);
    j->cpu = cpu;
    j->t = cpu->target->jit;
    j->m = cpu->machine->accel_data;
    j->o = &j->m->opts;
    cpu->accel_data = j;
    if (!jit_tlb_init(j, err) || !jit_cache_init(j, err)) {
        jit_vcpu_fini(cpu);
        return false;
    }
    return true;
}

/* The memory map exists by the time the vCPU runs. */
static void attach(JitCpu *j)
{
    bool held = machine_lock_held();

    if (!held) {
        machine_lock();
    }
    j->listener = (MemListener){.changed = view_changed, .opaque = j};
    mem_space_add_listener(j->m->m->memory, &j->listener);
    j->view = mem_view_get(j->m->m->memory);
    if (!held) {
        machine_unlock();
    }
    j->attached = true;
}

/* ---- leaving ---- */

static uint64_t env64(JitCpu *j, int32_t off)
{
    uint64_t v;

    memcpy(&v, (char *)j->cpu + off, 8);
    return v;
}

static void set_pc(JitCpu *j, uint64_t pc)
{
    memcpy((char *)j->cpu + j->t->pc_off, &pc, 8);
}

static uint64_t loc_part(JitCpu *j, unsigned kind, int32_t where)
{
    uint32_t v;

    switch (kind) {
    case JIT_LOC_ENV64:
        return env64(j, where);
    case JIT_LOC_ENV32:
        memcpy(&v, (char *)j->cpu + where, 4);
        return v;
    case JIT_LOC_SLOT:
        return jit_host_slot(j, where);
    case JIT_LOC_SAVED:
        return jit_host_saved_reg(j, where);
    default:
        return 0;
    }
}

static uint64_t loc_value(JitCpu *j, const JitLoc *l)
{
    return loc_part(j, l->kinds & 15, l->base) +
           (loc_part(j, l->kinds >> 4, l->index) << l->scale) + (uint64_t)l->disp;
}

static const JitFault *find_fault(const JitBlock *b, const void *site)
{
    uint32_t off = (const uint8_t *)site - b->host;

    for (unsigned i = 0; i < b->n_faults; i++) {
        if (jit_faults(b)[i].host_off == off) {
            return &jit_faults(b)[i];
        }
    }
    return NULL;
}

static const JitFault *current_fault(JitCpu *j, JitBlock **block)
{
    const void *site = jit_host_call_site(j);

    *block = jit_block_by_host(j, site);
    return *block ? find_fault(*block, site) : NULL;
}

bool jit_current_pc(JitCpu *j, uint64_t *pc, JitBlock **block)
{
    const JitFault *f;

    if (!j->in_code) {
        return false;
    }
    if (j->interp_block) {
        *block = j->interp_block;
        *pc = j->interp_block->pc;
        return true;
    }
    f = current_fault(j, block);
    if (!f) {
        return false;
    }
    *pc = (*block)->pc + f->pc_delta;
    return true;
}

void jit_restore(JitCpu *j)
{
    const JitFault *f;
    JitBlock *b;

    if (!j->in_code) {
        return;
    }
    if (j->interp_block) {
        jit_interp_restore(j);
        return;
    }
    f = current_fault(j, &b);
    if (!f) {
        g_error("jit: a helper without IRH_FAULTS raised an exception");
    }
    if (f->kind != IRF_PACKED) {
        uint64_t v[3] = {0};
        uint32_t packed;

        for (unsigned i = 0; i < f->n_locs; i++) {
            v[i] = loc_value(j, &jit_locs(b)[f->locs + i]);
        }
        packed = ir_eval_flags(f->kind & ~JIT_FAULT_CINV, f->size, v[0], v[1], v[2]) ^
                 (f->kind & JIT_FAULT_CINV ? IRF_C : 0);
        memcpy((char *)j->cpu + j->t->globals[j->t->flags_global].off, &packed, 4);
    }
    set_pc(j, b->pc + f->pc_delta);
}

void jit_unwind(JitCpu *j, unsigned reason)
{
    if (j->in_code) {
        bool host_fp = false;

        if (j->interp_block) {
            host_fp = j->interp_host_fp;
            j->interp_host_fp = false;
        } else {
            JitBlock *b;
            const JitFault *f = current_fault(j, &b);

            host_fp = f && f->host_fp;
        }
        jit_host_fp_unwind(j, host_fp);
    }
    longjmp(j->unwind, reason + 1);
}

void jit_raise(VCpu *cpu)
{
    JitCpu *j = jit_cpu(cpu);

    jit_restore(j);
    jit_unwind(j, JIT_EXIT_RAISE);
}

void jit_leave(VCpu *cpu)
{
    JitCpu *j = jit_cpu(cpu);

    jit_restore(j);
    jit_unwind(j, JIT_EXIT_LEAVE);
}

void jit_leave_done(VCpu *cpu)
{
    jit_unwind(jit_cpu(cpu), JIT_EXIT_LEAVE);
}

void jit_sync(VCpu *cpu)
{
    jit_restore(jit_cpu(cpu));
}

/* ---- the dispatcher ---- */

static unsigned enter(JitCpu *j, JitBlock *b)
{
    unsigned reason;

    j->in_code = true;
    if (G_UNLIKELY(!b->host_size)) {
        j->interp_block = b;
        jit_host_fp_load(j, false);
        reason = jit_interp(j, *jit_code(b), b->pc);
        j->interp_block = NULL;
    } else {
        reason = jit_host_enter(j, b->host, b->mmu);
    }
    j->in_code = false;
    return reason;
}

/* false: the outer loop has to act. */
static bool events(JitCpu *j)
{
    VCpu *cpu = j->cpu;
    uint32_t ev;

    __atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
    ev = __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&j->view_changed, __ATOMIC_RELAXED)) {
        jit_view_update(j);
    }
    if (ev & (VCPU_WORK | VCPU_STOP)) {
        return false;
    }
    if (ev) {
        j->t->take_event(cpu);
    }
    return true;
}

static bool debugging(const VCpu *cpu)
{
    return cpu->debug_step || (cpu->watchpoints && cpu->watchpoints->len) ||
           (cpu->breakpoints && cpu->breakpoints->len);
}

/* One instruction under a debugger that steps or watches; or stop at a breakpoint.
 * Returns false to leave the loop. */
static bool debug_before(JitCpu *j, uint64_t pc, uint64_t mode)
{
    VCpu *cpu = j->cpu;
    uint64_t lin = j->t->linear_pc(cpu, pc, mode);

    if (jit_is_break(j, lin) && !(j->at_break && j->break_pc == lin)) {
        cpu->debug_hit = VCPU_DEBUG_BREAK;
        cpu->debug_addr = lin;
        j->at_break = true;
        j->break_pc = lin;
        return false;
    }
    j->at_break = false;
    return true;
}

static unsigned run_stepping(JitCpu *j, uint64_t pc, uint64_t mode)
{
    JitBlock *b = jit_block_get(j, pc, mode, true);
    unsigned reason;

    jit_hot(j->cpu)->ctx = (uint64_t)JIT_NO_CTX << 48;
    reason = enter(j, b);
    jit_ctx_set(j, mode);
    return reason;
}

/* Run blocks until the dispatcher itself has something to do: false = leave the loop. */
static bool run_blocks(JitCpu *j)
{
    VCpu *cpu = j->cpu;
    unsigned reason = JIT_EXIT_EXIT;
    uint64_t mode = 0;

    for (;;) {
        uint64_t pc;
        JitJumpEntry *jc;
        JitBlock *b;

        if (reason != JIT_EXIT_LOOKUP) {
            if (__atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED) < 0 ||
                __atomic_load_n(&cpu->events, __ATOMIC_RELAXED)) {
                if (!events(j)) {
                    return false;
                }
            }
            if (cpu->halted || cpu->debug_hit) {
                return false;
            }
            mode = j->t->get_mode(cpu);
            if (mode != j->ctx_mode || jit_hot(cpu)->ctx >> 48 == JIT_NO_CTX) {
                jit_ctx_set(j, mode);
            }
        }
        if (G_UNLIKELY(j->until)) {
            if (reason == JIT_EXIT_LOOKUP) {
                reason = JIT_EXIT_POLL; /* @until may look at the whole state */
                continue;
            }
            if (j->until(cpu, j->until_arg)) {
                return false;
            }
            j->until_blocks++;
        }
        pc = env64(j, j->t->pc_off);
        if (G_UNLIKELY(debugging(cpu))) {
            if (!debug_before(j, pc, mode)) {
                return false;
            }
            if (cpu->debug_step || (cpu->watchpoints && cpu->watchpoints->len)) {
                reason = run_stepping(j, pc, mode);
                if (cpu->debug_step && !cpu->debug_hit) {
                    cpu->debug_hit = VCPU_DEBUG_STEP;
                }
                reason = JIT_EXIT_EXIT;
                continue;
            }
        }
        if (G_UNLIKELY(j->until)) {
            if (j->until_single) {
                run_stepping(j, pc, mode);
                reason = JIT_EXIT_EXIT;
                continue;
            }
            /* Linked blocks come back at their first poll. */
            __atomic_store_n(&cpu->exit_request, -1, __ATOMIC_SEQ_CST);
        }
        jc = &jit_jump_cache(cpu)[jit_jump_index(pc)];
        if (j->o->jumpcache && jc->tag == (pc ^ jit_hot(cpu)->ctx) && !j->single && jc->tag &&
            j->o->run_mode == JIT_MODE_JIT) {
            j->in_code = true;
            reason = jit_host_enter(j, jc->host, j->t->mmu_index(mode));
            j->in_code = false;
        } else {
            b = jit_block_get(j, pc, mode, false);
            if (j->o->jumpcache) {
                jit_jump_cache_put(j, pc, b);
            }
            reason = j->o->run_mode == JIT_MODE_CHECK ? jit_check_enter(j, b) : enter(j, b);
        }
        switch (reason) {
        case JIT_EXIT_EXIT:
            j->st.exit_exit++;
            break;
        case JIT_EXIT_LOOKUP:
            j->st.exit_lookup++;
            /* A target that jumps for ever without a translated poll must still be stopped. */
            if (__atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED) < 0) {
                reason = JIT_EXIT_POLL;
            }
            break;
        default:
            j->st.exit_poll++;
        }
    }
}

static uint64_t break_hash(const VCpu *cpu)
{
    uint64_t h = 0;

    for (unsigned i = 0; cpu->breakpoints && i < cpu->breakpoints->len; i++) {
        h = (h ^ g_array_index(cpu->breakpoints, uint64_t, i)) * 0x100000001b3ull + 1;
    }
    for (unsigned i = 0; cpu->watchpoints && i < cpu->watchpoints->len; i++) {
        const VCpuWatch *w = &g_array_index(cpu->watchpoints, VCpuWatch, i);

        h = (h ^ w->addr ^ w->len << 48) * 0x100000001b3ull + 2 + w->on_read + 2 * w->on_write;
    }
    return h;
}

static void jit_run(VCpu *cpu)
{
    JitCpu *j = jit_cpu(cpu);
    volatile bool first; /* survives the longjmp */
    uint64_t bh;
    int why;

    if (!j->attached) {
        attach(j);
    }
    bh = break_hash(cpu);
    if (bh != j->break_hash) {
        j->break_hash = bh;
        jit_cache_flush(j);
        jit_tlb_flush_all(j);
    }
    jit_host_fp_load(j, true);
    first = j->until != NULL;
    why = setjmp(j->unwind);
    j->in_code = false;
    j->interp_block = NULL;
    if (first) {
        first = false;
        j->t->deliver(cpu); /* nothing, unless an exception waits; may come here again */
    } else if (why) {
        switch (why - 1) {
        case JIT_EXIT_RAISE:
            j->st.exit_raise++;
            j->t->deliver(cpu); /* may come here again */
            break;
        default:
            j->st.exit_leave++;
        }
        if (cpu->debug_step && !cpu->debug_hit && why - 1 != JIT_EXIT_RESTART) {
            cpu->debug_hit = VCPU_DEBUG_STEP;
        }
    }
    run_blocks(j);
    jit_host_fp_sync(j);
    jit_host_fp_end(0x1f80);
}

uint64_t jit_run_until(VCpu *cpu, bool (*done)(VCpu *cpu, void *arg), void *arg, bool single)
{
    JitCpu *j = jit_cpu(cpu);

    j->until = done;
    j->until_arg = arg;
    j->until_single = single;
    j->until_blocks = 0;
    jit_run(cpu);
    j->until = NULL;
    return j->until_blocks;
}

void jit_forget(VCpu *cpu, bool code)
{
    JitCpu *j = jit_cpu(cpu);

    if (code) {
        jit_cache_flush(j);
    }
    jit_tlb_flush_all(j);
}

const MemAccelHooks *jit_mem_hooks_of(Machine *m)
{
    return &((JitMachine *)m->accel_data)->hooks;
}

static void jit_kick(VCpu *cpu)
{
    __atomic_store_n(&cpu->exit_request, -1, __ATOMIC_SEQ_CST);
}

static void jit_flush_tlb(VCpu *cpu)
{
    JitCpu *j = jit_cpu(cpu);

    if (j) {
        jit_tlb_flush_all(j);
    }
}

const Accelerator jit_accel = {
    .name = "jit",
    .init = jit_init,
    .fini = jit_fini,
    .vcpu_init = jit_vcpu_init,
    .vcpu_fini = jit_vcpu_fini,
    .run = jit_run,
    .kick = jit_kick,
    .flush_tlb = jit_flush_tlb,
    .info = jit_info,
};
