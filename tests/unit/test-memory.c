/* core/memory: flattening, access splitting, rules 2-4, dirty bytes. */
#include "core/machine.h"
#include "core/memory.h"
#include <string.h>

/* A device that logs its accesses. */
typedef struct Dev {
    MemRegion r;
    uint8_t regs[64];
    GString *log;
    MemSpace *reenter; /* the read callback reads this space at reenter_at */
    uint64_t reenter_at, reenter_got;
    bool saw_lock;
} Dev;

static uint64_t dev_read(void *opaque, uint64_t off, unsigned size)
{
    Dev *d = opaque;
    uint64_t v = 0;

    g_string_append_printf(d->log, "r%u@%x ", size, (unsigned)off);
    d->saw_lock = machine_lock_held();
    if (d->reenter) {
        d->reenter_got = mem_load(d->reenter, d->reenter_at, 4);
    }
    g_assert_cmpuint(off + size, <=, sizeof(d->regs));
    memcpy(&v, d->regs + off, size);
    return v;
}

static void dev_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Dev *d = opaque;

    g_string_append_printf(d->log, "w%u@%x=%x ", size, (unsigned)off, (unsigned)val);
    memcpy(d->regs + off, &val, size);
}

static void dev_init(Dev *d, const char *name, const MemOps *ops, uint64_t size)
{
    memset(d, 0, sizeof(*d));
    for (unsigned i = 0; i < sizeof(d->regs); i++) {
        d->regs[i] = i;
    }
    d->log = g_string_new(NULL);
    mem_region_init_io(&d->r, name, ops, d, size);
}

static void dev_done(Dev *d)
{
    mem_region_destroy(&d->r);
    g_string_free(d->log, TRUE);
}

#define LOG_IS(d, text)                                                                            \
    do {                                                                                           \
        g_assert_cmpstr((d)->log->str, ==, text);                                                  \
        g_string_truncate((d)->log, 0);                                                            \
    } while (0)

static const MemOps ops_1_4 = {.read = dev_read, .write = dev_write};
static const MemOps ops_4 = {.read = dev_read, .write = dev_write, .impl_min = 4, .impl_max = 4};
static const MemOps ops_1 = {.read = dev_read, .write = dev_write, .impl_max = 1};
static const MemOps ops_strict = {
    .read = dev_read, .write = dev_write, .impl_max = 4, .valid_min = 2, .valid_max = 4};
static const MemOps ops_be = {
    .read = dev_read, .write = dev_write, .impl_max = 4, .big_endian = true};
static const MemOps ops_unaligned = {
    .read = dev_read, .write = dev_write, .impl_max = 2, .unaligned = true};
static const MemOps ops_lockless = {.read = dev_read, .write = dev_write, .lockless = true};

static void flat_is(MemSpace *s, const char *want)
{
    GString *got = g_string_new(NULL);
    FlatView *v = mem_view_get(s);

    for (unsigned i = 0; i < v->n; i++) {
        const FlatRange *r = &v->ranges[i];
        g_string_append_printf(got, "%s:%x+%x@%x%s ", r->region->name, (unsigned)r->addr,
                               (unsigned)r->size, (unsigned)r->off, r->readonly ? "!" : "");
    }
    mem_view_put(v);
    g_assert_cmpstr(got->str, ==, want);
    g_string_free(got, TRUE);
}

static void test_flatten(void)
{
    MemRegion root, ram, win, rom_alias;
    Dev d;

    mem_region_init_container(&root, "root", UINT64_MAX);
    MemSpace *s = mem_space_new("test", &root);
    g_assert_true(mem_region_init_ram(&ram, "ram", 0x10000, NULL));
    dev_init(&d, "dev", &ops_1_4, 0x40);
    flat_is(s, "");
    mem_region_add(&root, &ram, 0, 0);
    flat_is(s, "ram:0+10000@0 ");
    mem_region_add(&root, &d.r, 0x2000, 1);
    flat_is(s, "ram:0+2000@0 dev:2000+40@0 ram:2040+dfc0@2040 ");
    /* an alias over both, read-only, through a container */
    mem_region_init_container(&win, "win", 0x1000);
    mem_region_init_alias(&rom_alias, "al", &ram, 0x4000, 0x1000);
    mem_region_set_readonly(&rom_alias, true);
    mem_region_add(&win, &rom_alias, 0x800, 0); /* cut by the container's end */
    mem_region_add(&root, &win, 0x1000, 2);
    flat_is(s, "ram:0+1800@0 ram:1800+800@4000! dev:2000+40@0 ram:2040+dfc0@2040 ");
    mem_region_set_enabled(&win, false);
    flat_is(s, "ram:0+2000@0 dev:2000+40@0 ram:2040+dfc0@2040 ");
    mem_region_set_addr(&d.r, 0x20000);
    flat_is(s, "ram:0+10000@0 dev:20000+40@0 ");
    /* equal priority: the later one wins; neighbours merge */
    mem_region_set_enabled(&win, true);
    mem_region_set_alias(&rom_alias, &ram, 0x1800);
    mem_region_set_readonly(&rom_alias, false);
    flat_is(s, "ram:0+10000@0 dev:20000+40@0 ");
    mem_region_destroy(&rom_alias);
    mem_region_destroy(&win);
    dev_done(&d);
    flat_is(s, "ram:0+10000@0 ");
    mem_space_free(s);
    mem_region_destroy(&ram);
    mem_region_destroy(&root);
}

static void test_equal_priority_and_alias_below_zero(void)
{
    MemRegion root, a, b, alias;

    mem_region_init_container(&root, "root", 0x10000);
    g_assert_true(mem_region_init_ram(&a, "a", 0x2000, NULL));
    g_assert_true(mem_region_init_rom(&b, "b", 0x1000, NULL));
    mem_region_add(&root, &a, 0, 0);
    mem_region_add(&root, &b, 0x1000, 0);
    MemSpace *s = mem_space_new("test", &root);
    flat_is(s, "a:0+1000@0 b:1000+1000@0! ");
    /* offset 0x1800 of the target at address 0: its origin would be at -0x1800 */
    mem_region_init_alias(&alias, "al", &a, 0x1800, 0x800);
    mem_region_add(&root, &alias, 0, 5);
    flat_is(s, "a:0+800@1800 a:800+800@800 b:1000+1000@0! ");
    mem_space_free(s);
    mem_region_destroy(&alias);
    mem_region_destroy(&a);
    mem_region_destroy(&b);
    mem_region_destroy(&root);
}

static unsigned changes;

static void on_change(void *opaque, MemSpace *space, const FlatView *old, const FlatView *now)
{
    g_assert_true(opaque == &changes);
    g_assert_true(old != now);
    changes++;
}

static void test_transaction_and_listener(void)
{
    MemRegion root, a, b;
    MemListener l = {.changed = on_change, .opaque = &changes};

    mem_region_init_container(&root, "root", 0x10000);
    g_assert_true(mem_region_init_ram(&a, "a", 0x1000, NULL));
    g_assert_true(mem_region_init_ram(&b, "b", 0x1000, NULL));
    MemSpace *s = mem_space_new("test", &root);
    mem_space_add_listener(s, &l);
    FlatView *held = mem_view_get(s);
    changes = 0;
    mem_transaction_begin();
    mem_region_add(&root, &a, 0, 0);
    mem_transaction_begin();
    mem_region_add(&root, &b, 0x4000, 0);
    mem_transaction_commit();
    g_assert_cmpuint(changes, ==, 0);
    mem_transaction_commit();
    g_assert_cmpuint(changes, ==, 1);
    mem_region_set_enabled(&a, true); /* nothing new */
    g_assert_cmpuint(changes, ==, 1);
    g_assert_cmpuint(held->n, ==, 0); /* old views do not change */
    mem_view_put(held);
    mem_space_del_listener(s, &l);
    mem_region_del(&a);
    g_assert_cmpuint(changes, ==, 1);
    mem_space_free(s);
    mem_region_destroy(&a);
    mem_region_destroy(&b);
    mem_region_destroy(&root);
}

static void test_ram_and_holes(void)
{
    MemRegion root, ram, rom;
    uint8_t buf[16];

    mem_region_init_container(&root, "root", UINT64_MAX);
    g_assert_true(mem_region_init_ram(&ram, "ram", 0x1000, NULL));
    g_assert_true(mem_region_init_rom(&rom, "rom", 0x1000, NULL));
    mem_region_add(&root, &ram, 0x1000, 0);
    mem_region_add(&root, &rom, 0x2000, 0);
    MemSpace *s = mem_space_new("test", &root);
    mem_store(s, 0x1000, 0x8877665544332211, 8);
    g_assert_cmphex(mem_load(s, 0x1001, 4), ==, 0x55443322);
    /* over the edge of a hole, either side */
    g_assert_cmphex(mem_load(s, 0xffe, 4), ==, 0x2211ffff);
    mem_store(s, 0xffe, 0xaabbccdd, 4);
    g_assert_cmphex(mem_load(s, 0x1000, 2), ==, 0xaabb);
    g_assert_cmphex(mem_load(s, 0x5000, 8), ==, UINT64_MAX);
    g_assert_cmphex(mem_load(s, UINT64_MAX, 2), ==, 0xffff); /* around the end */
    g_assert_cmphex(mem_load(s, UINT64_MAX - 7, 8), ==, UINT64_MAX);
    /* RAM next to ROM */
    mem_store(s, 0x1ffe, 0x04030201, 4);
    g_assert_cmphex(mem_load(s, 0x1ffe, 4), ==, 0x0201);
    g_assert_true(mem_write_rom(s, 0x1fff, "\x10\x20\x30", 3));
    g_assert_cmphex(mem_load(s, 0x1ffe, 4), ==, 0x30201001);
    g_assert_true(mem_write(s, 0x2000, "xyz", 3));
    g_assert_cmphex(mem_load(s, 0x2000, 2), ==, 0x3020);
    /* buffers */
    g_assert_false(mem_read(s, 0x2ffc, buf, 8));
    g_assert_cmpmem(buf, 8, "\0\0\0\0\xff\xff\xff\xff", 8);
    g_assert_false(mem_write(s, 0xfff, "ab", 2));
    g_assert_cmphex(mem_load(s, 0x1000, 1), ==, 'b');
    /* host pointers */
    uint64_t len = 0x2000;
    g_assert_true(mem_host_ptr(s, 0x1800, &len, true) == ram.host + 0x800);
    g_assert_cmphex(len, ==, 0x800);
    g_assert_null(mem_host_ptr(s, 0x2000, &len, true));
    len = 4;
    g_assert_true(mem_host_ptr(s, 0x2000, &len, false) == rom.host);
    g_assert_null(mem_host_ptr(s, 0, &len, false));
    mem_space_free(s);
    mem_region_destroy(&ram);
    mem_region_destroy(&rom);
    mem_region_destroy(&root);
}

static void one_device(const MemOps *ops, void (*fn)(Dev *d, MemSpace *s))
{
    MemRegion root;
    Dev d;

    mem_region_init_container(&root, "root", 0x10000);
    dev_init(&d, "dev", ops, 0x40);
    mem_region_add(&root, &d.r, 0x100, 0);
    MemSpace *s = mem_space_new("test", &root);
    machine_lock();
    fn(&d, s);
    machine_unlock();
    mem_space_free(s);
    dev_done(&d);
    mem_region_destroy(&root);
}

static void do_split(Dev *d, MemSpace *s)
{
    g_assert_cmphex(mem_load(s, 0x104, 8), ==, 0x0b0a090807060504);
    LOG_IS(d, "r4@4 r4@8 ");
    g_assert_cmphex(mem_load(s, 0x101, 4), ==, 0x04030201);
    LOG_IS(d, "r1@1 r2@2 r1@4 ");
    mem_store(s, 0x102, 0x44332211, 4);
    LOG_IS(d, "w2@2=2211 w2@4=4433 ");
    /* half in the device */
    g_assert_cmphex(mem_load(s, 0x13e, 4), ==, 0xffff3f3e);
    LOG_IS(d, "r2@3e ");
    uint8_t buf[7];
    g_assert_true(mem_read(s, 0x119, buf, 7));
    LOG_IS(d, "r1@19 r2@1a r4@1c ");
    g_assert_cmphex(buf[6], ==, 0x1f);
}

static void do_widen(Dev *d, MemSpace *s)
{
    g_assert_cmphex(mem_load(s, 0x106, 1), ==, 6);
    LOG_IS(d, "r4@4 ");
    mem_store(s, 0x109, 0xaa, 1); /* merged with what is there */
    LOG_IS(d, "r4@8 w4@8=b0aaa08 ");
    mem_store(s, 0x110, 0x1122334455667788, 8);
    LOG_IS(d, "w4@10=55667788 w4@14=11223344 ");
}

static void do_bytes(Dev *d, MemSpace *s)
{
    g_assert_cmphex(mem_load(s, 0x100, 4), ==, 0x03020100);
    LOG_IS(d, "r1@0 r1@1 r1@2 r1@3 ");
}

static void do_strict(Dev *d, MemSpace *s)
{
    g_assert_cmphex(mem_load(s, 0x100, 1), ==, 0xff);
    mem_store(s, 0x100, 1, 1);
    g_assert_cmphex(mem_load(s, 0x100, 8), ==, UINT64_MAX);
    LOG_IS(d, "");
    g_assert_cmphex(mem_load(s, 0x100, 2), ==, 0x0100);
    LOG_IS(d, "r2@0 ");
}

static void do_big_endian(Dev *d, MemSpace *s)
{
    /* the callback's number is 0x03020100; on a little-endian bus its first byte is the top one */
    g_assert_cmphex(mem_load(s, 0x100, 4), ==, 0x00010203);
    mem_store(s, 0x104, 0x11223344, 4);
    LOG_IS(d, "r4@0 w4@4=44332211 ");
}

static void do_unaligned(Dev *d, MemSpace *s)
{
    g_assert_cmphex(mem_load(s, 0x101, 2), ==, 0x0201);
    LOG_IS(d, "r2@1 ");
}

static void do_reenter(Dev *d, MemSpace *s)
{
    d->reenter = s;
    d->reenter_at = 0x120;
    g_assert_cmphex(mem_load(s, 0x100, 4), ==, 0x03020100);
    g_assert_cmphex(d->reenter_got, ==, 0xffffffff);
    LOG_IS(d, "r4@0 ");
    g_assert_false(d->r.busy);
}

static void do_lock(Dev *d, MemSpace *s)
{
    FlatView *v = mem_view_get(s);

    machine_unlock();
    d->saw_lock = false;
    mem_view_load(v, 0x100, 4, false);
    g_assert_true(d->saw_lock == !d->r.ops->lockless);
    const FlatRange *r = mem_view_find(v, 0x110);
    g_assert_nonnull(r);
    g_assert_null(mem_view_find(v, 0x140));
    g_assert_null(mem_view_find(v, 0xff));
    g_assert_cmphex(mem_range_load(r, 0x110, 2, false), ==, 0x1110);
    g_assert_cmphex(mem_range_load(r, 0x13f, 2, false), ==, 0xffff);
    machine_lock();
    mem_view_put(v);
}

static void test_split(void)
{
    one_device(&ops_1_4, do_split);
    one_device(&ops_4, do_widen);
    one_device(&ops_1, do_bytes);
    one_device(&ops_strict, do_strict);
    one_device(&ops_be, do_big_endian);
    one_device(&ops_unaligned, do_unaligned);
}

static void test_reenter(void)
{
    one_device(&ops_1_4, do_reenter);
}

static void test_locking(void)
{
    one_device(&ops_1_4, do_lock);
    one_device(&ops_lockless, do_lock);
}

static GString *hook_log;

static void code_written(void *opaque, MemRegion *r, uint64_t off, uint64_t len)
{
    g_string_append_printf(hook_log, "code %x+%x ", (unsigned)off, (unsigned)len);
}

static void made_clean(void *opaque, MemRegion *r, uint64_t off, uint64_t len)
{
    g_string_append_printf(hook_log, "clean %x+%x ", (unsigned)off, (unsigned)len);
}

static void test_dirty(void)
{
    MemRegion ram;
    MemAccelHooks hooks = {.code_written = code_written, .made_clean = made_clean};

    hook_log = g_string_new(NULL);
    g_assert_true(mem_region_init_ram(&ram, "ram", 0x8000, NULL));
    mem_set_accel_hooks(&hooks);
    g_assert_true(mem_test_clear_dirty(&ram, 0, 0x8000, MEM_DIRTY_DISPLAY));
    g_assert_cmpstr(hook_log->str, ==, "clean 0+8000 ");
    g_string_truncate(hook_log, 0);
    g_assert_false(mem_test_clear_dirty(&ram, 0, 0x8000, MEM_DIRTY_DISPLAY));
    mem_set_dirty(&ram, 0x1fff, 2); /* two pages */
    mem_set_dirty(&ram, 0x5000, 1);
    g_assert_true(mem_test_clear_dirty(&ram, 0, 0x8000, MEM_DIRTY_DISPLAY));
    g_assert_cmpstr(hook_log->str, ==, "clean 1000+2000 clean 5000+1000 ");
    g_string_truncate(hook_log, 0);
    /* other clients do not lose their bits */
    g_assert_true(mem_test_clear_dirty(&ram, 0x5000, 0x1000, MEM_DIRTY_MIGRATION));
    /* a page with code: the hook hears of every write until it sets the bit itself */
    g_assert_true(mem_test_clear_dirty(&ram, 0x3000, 1, MEM_DIRTY_CODE));
    g_string_truncate(hook_log, 0);
    mem_set_dirty(&ram, 0x2ffe, 0x1004);
    g_assert_cmpstr(hook_log->str, ==, "code 3000+1000 ");
    g_assert_cmphex(ram.dirty[3] & MEM_DIRTY_CODE, ==, 0);
    mem_set_dirty(&ram, 0x7fff, UINT64_MAX); /* cut at the end */
    mem_set_dirty(&ram, 0x8000, 1);
    mem_set_accel_hooks(NULL);
    mem_region_destroy(&ram);
    g_string_free(hook_log, TRUE);
}

/* What is at @addr, found the slow way: the first child that has it, else the region itself. */
static MemRegion *resolve(MemRegion *r, int64_t addr, int64_t *off, bool *readonly, unsigned depth)
{
    bool ro = *readonly || r->readonly || r->kind == MEM_ROM;

    if (!r->enabled || addr < 0 || addr >= (int64_t)r->size || depth > 32) {
        return NULL;
    }
    for (GList *l = r->children; l; l = l->next) {
        MemRegion *c = l->data;
        bool child_ro = ro;
        MemRegion *hit = resolve(c, addr - (int64_t)c->addr, off, &child_ro, depth + 1);
        if (hit) {
            *readonly = child_ro;
            return hit;
        }
    }
    *readonly = ro;
    if (r->kind == MEM_ALIAS) {
        return resolve(r->target, addr + (int64_t)r->target_off, off, readonly, depth + 1);
    }
    *off = addr;
    return r->kind == MEM_CONTAINER ? NULL : r;
}

enum { RANDOM_REGIONS = 14, RANDOM_SPAN = 0x400 };

static void compare(MemSpace *s, MemRegion *root)
{
    FlatView *v = mem_view_get(s);

    for (int64_t a = 0; a < RANDOM_SPAN; a++) {
        int64_t off = 0;
        bool readonly = false;
        MemRegion *want = resolve(root, a, &off, &readonly, 0);
        const FlatRange *got = mem_view_find(v, a);
        g_assert_true((got ? got->region : NULL) == want);
        if (got) {
            g_assert_cmpint(got->off + (a - got->addr), ==, off);
            g_assert_true(got->readonly == readonly);
        }
    }
    for (unsigned i = 1; i < v->n; i++) {
        g_assert_cmpuint(v->ranges[i - 1].addr + v->ranges[i - 1].size, <=, v->ranges[i].addr);
    }
    mem_view_put(v);
}

/* Trees at random, changed at random. */
static void test_random_trees(void)
{
    for (unsigned round = 0; round < 150; round++) {
        MemRegion root, r[RANDOM_REGIONS];
        mem_region_init_container(&root, "root", RANDOM_SPAN);
        MemSpace *s = mem_space_new("random", &root);
        for (unsigned i = 0; i < RANDOM_REGIONS; i++) {
            uint64_t size = g_test_rand_int_range(1, 0x200);
            char name[8];
            g_snprintf(name, sizeof(name), "r%u", i);
            switch (g_test_rand_int_range(0, i ? 4 : 2)) {
            case 0:
                mem_region_init_container(&r[i], name, size);
                break;
            case 1:
            case 2:
                mem_region_init_io(&r[i], name, &ops_1_4, NULL, size);
                break;
            default: /* of an earlier one, so there are no circles */
                mem_region_init_alias(&r[i], name, &r[g_test_rand_int_range(0, i)],
                                      g_test_rand_int_range(0, 0x100), size);
            }
            MemRegion *parent =
                i && g_test_rand_int_range(0, 2) ? &r[g_test_rand_int_range(0, i)] : &root;
            mem_region_add(parent, &r[i], g_test_rand_int_range(0, RANDOM_SPAN),
                           g_test_rand_int_range(-1, 3));
        }
        compare(s, &root);
        for (unsigned i = 0; i < 20; i++) {
            MemRegion *x = &r[g_test_rand_int_range(0, RANDOM_REGIONS)];
            switch (g_test_rand_int_range(0, 3)) {
            case 0:
                mem_region_set_enabled(x, !x->enabled);
                break;
            case 1:
                mem_region_set_addr(x, g_test_rand_int_range(0, RANDOM_SPAN));
                break;
            default:
                mem_region_set_readonly(x, !x->readonly);
            }
            compare(s, &root);
        }
        mem_space_free(s);
        for (int i = RANDOM_REGIONS - 1; i >= 0; i--) {
            mem_region_destroy(&r[i]);
        }
        mem_region_destroy(&root);
    }
}

static void test_errors_and_dump(void)
{
    MemRegion root, ram;
    GError *err = NULL;

    g_assert_false(mem_region_init_ram(&ram, "huge", 1ull << 62, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    g_assert_false(mem_region_init_ram(&ram, "nothing", 0, &err));
    g_clear_error(&err);
    mem_region_init_container(&root, "root", 0x10000);
    g_assert_true(mem_region_init_ram(&ram, "pc.ram", 100, NULL));
    g_assert_cmpuint(ram.size, ==, 0x1000); /* rounded up to a page */
    mem_region_add(&root, &ram, 0x3000, 0);
    MemSpace *s = mem_space_new("memory", &root);
    char *tree = mem_space_dump(s, false), *flat = mem_space_dump(s, true);
    g_assert_nonnull(strstr(tree, "0000000000003000-0000000000003fff (prio 0, ram): pc.ram"));
    g_assert_nonnull(strstr(flat, "0000000000003000-0000000000003fff (prio 0, ram): pc.ram"));
    g_free(tree);
    g_free(flat);
    mem_space_free(s);
    mem_region_destroy(&ram);
    mem_region_destroy(&root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/flatten", test_flatten);
    g_test_add_func("/memory/equal-priority-alias", test_equal_priority_and_alias_below_zero);
    g_test_add_func("/memory/transaction-listener", test_transaction_and_listener);
    g_test_add_func("/memory/ram-and-holes", test_ram_and_holes);
    g_test_add_func("/memory/split", test_split);
    g_test_add_func("/memory/reenter", test_reenter);
    g_test_add_func("/memory/locking", test_locking);
    g_test_add_func("/memory/dirty", test_dirty);
    g_test_add_func("/memory/random-trees", test_random_trees);
    g_test_add_func("/memory/errors-dump", test_errors_and_dump);
    return g_test_run();
}
