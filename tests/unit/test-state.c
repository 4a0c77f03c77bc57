/* core/state: the stream, its checks, the dump. */
#include "core/clock.h"
#include "core/log.h"
#include "core/state.h"
#include <string.h>

typedef struct Inner {
    uint16_t a;
    uint8_t raw[3];
} Inner;

typedef struct Outer {
    bool flag;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    int32_t i32;
    int64_t i64;
    uint8_t bytes[4];
    uint32_t words[2][2];
    Inner inner[2];
    Timer timer;
    unsigned derived, saves;
} Outer;

static const StateField inner_fields[] = {STATE_U16(Inner, a), STATE_U8_ARRAY(Inner, raw),
                                          STATE_END_FIELD};
static const StateTable inner_table = {.name = "inner", .version = 1, .fields = inner_fields};

static void pre_save(void *obj)
{
    ((Outer *)obj)->saves++;
}

static bool post_load(void *obj, GError **err)
{
    Outer *o = obj;

    if (o->u8 > 100) {
        return fail(err, "u8 is an index and too large");
    }
    o->derived = o->u8 * 2;
    return true;
}

static const StateField outer_fields[] = {
    STATE_BOOL(Outer, flag),       STATE_U8(Outer, u8),
    STATE_U16(Outer, u16),         STATE_U32(Outer, u32),
    STATE_U64(Outer, u64),         STATE_I32(Outer, i32),
    STATE_I64(Outer, i64),         STATE_U8_ARRAY(Outer, bytes),
    STATE_U32_ARRAY(Outer, words), STATE_STRUCT_ARRAY(Outer, inner, Inner, &inner_table),
    STATE_TIMER(Outer, timer),     STATE_END_FIELD,
};
static const StateTable outer_table = {.name = "outer",
                                       .version = 0x01020304,
                                       .fields = outer_fields,
                                       .pre_save = pre_save,
                                       .post_load = post_load};

static void nothing(void *opaque)
{
}

static Outer sample(Clock *c)
{
    Outer o = {.flag = true,
               .u8 = 0x12,
               .u16 = 0x3456,
               .u32 = 0x789abcde,
               .u64 = 0x1122334455667788,
               .i32 = -2,
               .i64 = -3,
               .bytes = {1, 2, 3, 4},
               .words = {{5, 6}, {7, 8}},
               .inner = {{.a = 0x0a0b, .raw = {9, 8, 7}}, {.a = 0x0c0d, .raw = {6, 5, 4}}}};

    timer_init(&o.timer, c, nothing, NULL);
    return o;
}

static void test_stream(void)
{
    static const uint8_t want[] = {
        5,    'o',  'u',  't',  'e',  'r',  4,    3,    2, 1, /* name and version */
        1,    0x12, 0x56, 0x34, 0xde, 0xbc, 0x9a, 0x78,       /* bool to u32 */
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,       /* u64 */
        0xfe, 0xff, 0xff, 0xff,                               /* i32 */
        0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,       /* i64 */
        1,    2,    3,    4,                                  /* bytes */
        5,    0,    0,    0,    6,    0,    0,    0,          /* words */
        7,    0,    0,    0,    8,    0,    0,    0,          /* words */
        0x0b, 0x0a, 9,    8,    7,    0x0d, 0x0c, 6,    5, 4, /* structs */
        0x10, 0x27, 0,    0,    0,    0,    0,    0,          /* timer: 10000 */
    };
    Clock *c = clock_new(CLOCK_KIND_MANUAL);
    Outer o = sample(c);
    GByteArray *out = g_byte_array_new();

    timer_set(&o.timer, 10000);
    state_save(&outer_table, &o, out);
    g_assert_cmpmem(out->data, out->len, want, sizeof(want));
    g_assert_cmpuint(o.saves, ==, 1);
    timer_del(&o.timer);

    Outer in;
    memset(&in, 0x55, sizeof(in));
    timer_init(&in.timer, c, nothing, NULL);
    timer_set(&in.timer, 77);
    size_t pos = 0;
    g_assert_true(state_load(&outer_table, &in, want, sizeof(want), &pos, NULL));
    g_assert_cmpuint(pos, ==, sizeof(want));
    g_assert_cmpint(in.i64, ==, -3);
    g_assert_cmpuint(in.words[1][0], ==, 7);
    g_assert_cmphex(in.inner[1].a, ==, 0x0c0d);
    g_assert_cmpuint(in.derived, ==, 0x24);
    g_assert_cmpint(clock_next_deadline(c), ==, 10000);
    timer_del(&in.timer);
    g_byte_array_free(out, TRUE);
    clock_free(c);
}

/* Offsets in the stream of test_stream(). */
enum { AT_NAME = 1, AT_VERSION = 6, AT_FLAG = 10, AT_U8 = 11, AT_TIMER = 68 };

static void refuse(const GByteArray *good, size_t at, uint8_t val, const char *word)
{
    Clock *c = clock_new(CLOCK_KIND_MANUAL);
    Outer o = sample(c);
    uint8_t *bad = g_memdup2(good->data, good->len);
    GError *err = NULL;
    size_t pos = 0;

    bad[at] = val;
    g_assert_false(state_load(&outer_table, &o, bad, good->len, &pos, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(err->message, word));
    g_clear_error(&err);
    g_free(bad);
    timer_del(&o.timer);
    clock_free(c);
}

static void test_hostile_streams(void)
{
    Clock *c = clock_new(CLOCK_KIND_MANUAL);
    Outer o = sample(c);
    GByteArray *good = g_byte_array_new();

    state_save(&outer_table, &o, good);
    refuse(good, AT_NAME, 'x', "outer");
    refuse(good, 0, 200, "outer");
    refuse(good, AT_VERSION, 9, "version");
    refuse(good, AT_FLAG, 2, "flag");
    refuse(good, AT_U8, 101, "too large");
    refuse(good, AT_TIMER, 0xfe, "timer"); /* -2 */
    for (size_t n = 0; n < good->len; n++) {
        GError *err = NULL;
        size_t pos = 0;
        uint8_t *cut = g_memdup2(good->data, n ? n : 1); /* for the address sanitizer */
        g_assert_false(state_load(&outer_table, &o, cut, n, &pos, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
        g_free(cut);
    }
    size_t beyond = good->len + 1;
    g_assert_false(state_load(&outer_table, &o, good->data, good->len, &beyond, NULL));
    timer_del(&o.timer);
    g_byte_array_free(good, TRUE);
    clock_free(c);
}

static void test_dump(void)
{
    Clock *c = clock_new(CLOCK_KIND_MANUAL);
    Outer o = sample(c);
    char *text = state_dump(&outer_table, &o);

    g_assert_nonnull(strstr(text, "flag = 0x1\n"));
    g_assert_nonnull(strstr(text, "words = 0x5 0x6 0x7 0x8\n"));
    g_assert_nonnull(strstr(text, "inner[1].a = 0xc0d\n"));
    g_assert_nonnull(strstr(text, "inner[0].raw = 09 08 07\n"));
    g_assert_nonnull(strstr(text, "timer = -1\n"));
    g_free(text);
    clock_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state/stream", test_stream);
    g_test_add_func("/state/hostile-streams", test_hostile_streams);
    g_test_add_func("/state/dump", test_dump);
    return g_test_run();
}
