/*
 * mode=check: the translator in lockstep with the interpreter.
 *
 * A block is first interpreted, with the old contents of what it stores kept aside; then memory
 * and state are put back, its translation runs, and both results are compared. Left out: blocks
 * that call helpers with side effects, touch devices, fault, or overwrite code; and machines with
 * several vCPUs, whose memory changes in between. Each block is checked on its first runs only.
 */
#include "accel/jit/host/host.h"
#include "accel/jit/jit-internal.h"
#include "core/log.h"
#include <string.h>

enum { RUNS = 40, MAX_STORES = 256 };

typedef struct Store {
    uint8_t *host;
    uint8_t size, before[16], after[16];
} Store;

struct JitCheck {
    GHashTable *codes; /* host address of the block → CheckedBlock */
    uint8_t *start, *expected;
    Store stores[MAX_STORES];
    unsigned n_stores;
};

typedef struct CheckedBlock {
    IrCode *code; /* NULL: not to be checked */
    uint64_t pc, mode;
    unsigned runs;
} CheckedBlock;

static void free_checked(gpointer p)
{
    CheckedBlock *c = p;

    ir_code_free(c->code);
    g_free(c);
}

static struct JitCheck *check_state(JitCpu *j)
{
    if (!j->check) {
        j->check = g_new0(struct JitCheck, 1);
        j->check->codes = g_hash_table_new_full(NULL, NULL, NULL, free_checked);
        j->check->start = g_malloc(j->cpu->target->state_size);
        j->check->expected = g_malloc(j->cpu->target->state_size);
    }
    return j->check;
}

void jit_check_free(JitCpu *j)
{
    if (j->check) {
        g_hash_table_destroy(j->check->codes);
        g_free(j->check->start);
        g_free(j->check->expected);
        g_free(j->check);
        j->check = NULL;
    }
}

void jit_check_forget(JitCpu *j)
{
    if (j->check) {
        g_hash_table_remove_all(j->check->codes);
    }
}

void jit_check_store(JitCpu *j, uint8_t *host, unsigned size, bool code)
{
    struct JitCheck *c = j->check;
    Store *s;

    if (c->n_stores == MAX_STORES || code) {
        jit_unwind(j, JIT_EXIT_LEAVE);
    }
    s = &c->stores[c->n_stores++];
    s->host = host;
    s->size = size;
    memcpy(s->before, host, size);
}

static bool checkable(const IrBlock *b)
{
    for (unsigned i = 0; i < b->n_insns; i++) {
        const IrInsn *in = &b->insns[i];

        if (in->op == IR_CALL && !(in->helper->flags & IRH_PURE)) {
            return false;
        }
        if (in->op == IR_LDE && in->imm < sizeof(VCpu)) { /* events: other threads write them */
            return false;
        }
    }
    return !b->transient;
}

static CheckedBlock *find(JitCpu *j, const JitBlock *b)
{
    struct JitCheck *c = check_state(j);
    CheckedBlock *k = g_hash_table_lookup(c->codes, b->host);

    if (k && k->pc == b->pc && k->mode == b->mode) {
        return k;
    }
    k = g_new0(CheckedBlock, 1);
    k->pc = b->pc;
    k->mode = b->mode;
    jit_decode(j, b->pc, b->mode, b->n_guest);
    if (checkable(j->ir) && j->ir->n_guest == b->n_guest) {
        k->code = ir_code_new(j->ir);
    }
    g_hash_table_replace(c->codes, b->host, k);
    return k;
}

/* The parts of the state that count; the flags' H is undefined after shifts. */
static bool same(JitCpu *j, uint8_t *a, uint8_t *b)
{
    size_t cc = j->t->globals[j->t->flags_global].off, from = sizeof(VCpu);
    uint32_t fa, fb;

    memcpy(&fa, a + cc, 4);
    memcpy(&fb, b + cc, 4);
    if ((fa ^ fb) & JIT_FLAGS_ALL & ~IRF_H) {
        return false;
    }
    memcpy(b + cc, &fa, 4);
    return !memcmp(a + from, b + from, j->cpu->target->state_size - from);
}

static void report(JitCpu *j, const JitBlock *b, const CheckedBlock *k, const uint8_t *got)
{
    const struct JitCheck *c = j->check;
    char *text;

    error_report("jit: block 0x%" G_GINT64_MODIFIER "x differs from the interpreter", b->pc);
    for (unsigned i = 0; i < j->t->n_globals; i++) {
        const JitGlobal *g = &j->t->globals[i];
        unsigned n = g->type == IR_V128 ? 16 : g->type == IR_I64 ? 8 : 4;

        if (memcmp(got + g->off, c->expected + g->off, n)) {
            uint64_t x = 0, y = 0;

            memcpy(&x, got + g->off, MIN(n, 8));
            memcpy(&y, c->expected + g->off, MIN(n, 8));
            error_report("  %s: %" G_GINT64_MODIFIER "x, interpreted %" G_GINT64_MODIFIER "x",
                         g->name, x, y);
        }
    }
    jit_decode(j, b->pc, b->mode, b->n_guest);
    text = ir_dump(j->ir);
    error_report("%s", text);
    g_free(text);
    text = jit_host_disas(b->host, b->host_size, (uintptr_t)b->host);
    error_report("%s", text);
    g_free(text);
    g_abort();
}

/* Interpret and take back. false: not comparable. */
static bool rehearse(JitCpu *j, const JitBlock *b, const CheckedBlock *k)
{
    struct JitCheck *c = j->check;
    size_t from = sizeof(VCpu), n = j->cpu->target->state_size - from;
    uint8_t *state = (uint8_t *)j->cpu;
    jmp_buf outer;
    volatile bool ok = false;

    c->n_stores = 0;
    memcpy(c->start + from, state + from, n);
    memcpy(&outer, &j->unwind, sizeof outer);
    if (!setjmp(j->unwind)) {
        j->checking = j->in_code = true;
        j->interp_block = (JitBlock *)b;
        jit_host_fp_load(j, false);
        jit_interp(j, k->code, b->pc);
        ok = true;
    }
    j->checking = j->in_code = false;
    j->interp_block = NULL;
    memcpy(&j->unwind, &outer, sizeof outer);
    memcpy(c->expected + from, state + from, n);
    memcpy(state + from, c->start + from, n);
    for (unsigned i = 0; i < c->n_stores; i++) {
        memcpy(c->stores[i].after, c->stores[i].host, c->stores[i].size);
    }
    for (unsigned i = c->n_stores; i-- > 0;) {
        memcpy(c->stores[i].host, c->stores[i].before, c->stores[i].size);
    }
    return ok;
}

unsigned jit_check_enter(JitCpu *j, JitBlock *b)
{
    CheckedBlock *k = find(j, b);
    bool compare = false;
    unsigned reason;
    uint64_t ctx = jit_hot(j->cpu)->ctx;

    if (k->code && k->runs < RUNS && j->m->m->n_vcpus == 1) {
        k->runs++;
        compare = rehearse(j, b, k);
    }
    jit_hot(j->cpu)->ctx = (uint64_t)JIT_NO_CTX << 48; /* come back after this block */
    j->in_code = true;
    reason = jit_host_enter(j, b->host, b->mmu);
    j->in_code = false;
    jit_hot(j->cpu)->ctx = ctx;
    if (compare) {
        struct JitCheck *c = j->check;
        bool ok;

        jit_host_fp_sync(j);
        memcpy(c->start, j->cpu, j->cpu->target->state_size);
        if (j->t->mxcsr_off >= 0) { /* sticky flags are in the host's register meanwhile */
            memcpy(c->expected + j->t->mxcsr_off, c->start + j->t->mxcsr_off, 4);
        }
        ok = same(j, c->start, c->expected);
        for (unsigned i = 0; i < c->n_stores; i++) {
            ok = ok && !memcmp(c->stores[i].host, c->stores[i].after, c->stores[i].size);
        }
        j->st.checked++;
        if (!ok) {
            report(j, b, k, c->start);
        }
    }
    return reason;
}
