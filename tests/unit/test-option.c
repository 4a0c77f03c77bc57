/* core/option: lists and scalars as users type them. */
#include "core/option.h"
#include <string.h>

/* One sentence: no line break, no full stop needed, and it names @word. */
static void error_names(GError **err, const char *word)
{
    g_assert_nonnull(*err);
    g_assert_null(strchr((*err)->message, '\n'));
    g_assert_nonnull(strstr((*err)->message, word));
    g_clear_error(err);
}

static void test_lists(void)
{
    GError *err = NULL;
    Options *o = options_parse(
        "-drive", "a.img,if=ide,serial=x,,y,,,,z,snapshot,readonly=on,if=none", "file", &err);

    g_assert_no_error(err);
    g_assert_cmpstr(options_get(o, "file"), ==, "a.img");
    g_assert_cmpstr(options_get(o, "if"), ==, "none"); /* the last one wins */
    g_assert_cmpstr(options_get(o, "serial"), ==, "x,y,,z");
    g_assert_cmpstr(options_get(o, "snapshot"), ==, "on");
    g_assert_null(options_get(o, "cache"));
    g_assert_false(options_check_used(o, &err));
    error_names(&err, "readonly");
    bool readonly = false;
    g_assert_true(options_get_bool(o, "readonly", &readonly, &err));
    g_assert_true(readonly);
    g_assert_true(options_check_used(o, &err));
    options_free(o);
    /* the implied key takes a first item with commas, but not one that has a key */
    o = options_parse("-drive", "a,,b.img", "file", NULL);
    g_assert_cmpstr(options_get(o, "file"), ==, "a,b.img");
    options_free(o);
    o = options_parse("-drive", "file=c=d.img", "file", NULL);
    g_assert_cmpstr(options_get(o, "file"), ==, "c=d.img");
    options_free(o);
    o = options_parse("-x", "", "file", NULL);
    if (o) {
        g_assert_true(options_check_used(o, NULL));
        options_free(o);
    }
    g_assert_null(options_parse("-x", "=5", NULL, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
}

static void test_typed(void)
{
    GError *err = NULL;
    Options *o = options_parse("-m", "512,slots=4,maxmem=2G,nowait,share=maybe", "size", NULL);
    uint64_t v = 7;
    bool b = true;

    g_assert_true(options_get_size(o, "size", 1 << 20, &v, &err));
    g_assert_cmpuint(v, ==, 512u << 20);
    g_assert_true(options_get_uint(o, "slots", 255, &v, &err));
    g_assert_cmpuint(v, ==, 4);
    g_assert_false(options_get_uint(o, "slots", 3, &v, &err));
    error_names(&err, "slots");
    g_assert_true(options_get_size(o, "maxmem", 1 << 20, &v, &err));
    g_assert_cmpuint(v, ==, 2ull << 30);
    g_assert_true(options_get_bool(o, "wait", &b, &err));
    g_assert_false(b);
    g_assert_false(options_get_bool(o, "share", &b, &err));
    error_names(&err, "share");
    v = 99;
    g_assert_true(options_get_uint(o, "absent", 255, &v, &err)); /* keeps its value */
    g_assert_cmpuint(v, ==, 99);
    options_free(o);
}

static void test_bool(void)
{
    static const struct {
        const char *text;
        bool ok, val;
    } t[] = {{"on", true, true},   {"yes", true, true},     {"true", true, true},
             {"off", true, false}, {"no", true, false},     {"false", true, false},
             {"", false, false},   {"maybe", false, false}, {"onn", false, false}};

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        GError *err = NULL;
        bool b = !t[i].val;
        g_assert_true(parse_bool("-x", t[i].text, &b, &err) == t[i].ok);
        if (t[i].ok) {
            g_assert_true(b == t[i].val);
        } else {
            error_names(&err, "-x");
        }
    }
}

static void test_sizes(void)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t val;
    } t[] = {
        {"128", true, 128},
        {"1k", true, 1024},
        {"512M", true, 512ull << 20},
        {"1G", true, 1ull << 30},
        {"2T", true, 2ull << 40},
        {"1.5G", true, 3ull << 29},
        {"0x1000", true, 0x1000},
        {"0", true, 0},
        {"64b", true, 64},
        {"7E", true, 7ull << 60},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"16E", false, 0},
        {"-1", false, 0},
        {" 5", false, 0},
        {"", false, 0},
        {"M", false, 0},
        {"5MM", false, 0},
        {"5 M", false, 0},
        {"1.G", false, 0},
        {"nan", false, 0},
        {"1e3", false, 0},
        {"5x", false, 0},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        GError *err = NULL;
        uint64_t v = 12345;
        bool ok = parse_size("-m", t[i].text, 1, &v, &err);
        if (ok != t[i].ok || (ok && v != t[i].val)) {
            g_test_message("'%s' gives %d, %" G_GUINT64_FORMAT, t[i].text, ok, v);
            g_test_fail();
        }
        g_clear_error(&err);
    }
}

static void test_uint(void)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t val;
    } t[] = {{"0", true, 0},    {"255", true, 255}, {"0xff", true, 255},
             {"256", false, 0}, {"-1", false, 0},   {"", false, 0},
             {"5k", false, 0},  {"+5", false, 0},   {"99999999999999999999", false, 0}};

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        GError *err = NULL;
        uint64_t v = 12345;
        bool ok = parse_uint("-smp", t[i].text, 255, &v, &err);
        if (ok != t[i].ok || (ok && v != t[i].val)) {
            g_test_message("'%s' gives %d, %" G_GUINT64_FORMAT, t[i].text, ok, v);
            g_test_fail();
        }
        g_clear_error(&err);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/option/lists", test_lists);
    g_test_add_func("/option/typed", test_typed);
    g_test_add_func("/option/bool", test_bool);
    g_test_add_func("/option/sizes", test_sizes);
    g_test_add_func("/option/uint", test_uint);
    return g_test_run();
}
