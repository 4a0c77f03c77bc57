/* core/device: properties, realize, buses, the order of the machine's list. */
#include "core/log.h"
#include "core/machine.h"
#include <string.h>

typedef struct Widget {
    Device dev;
    bool flag;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64, size;
    char *name, *drive;
    uint8_t mac[6];
    int32_t addr, mode;
    Bus bus;
    unsigned resets;
} Widget;

static const char *const modes[] = {"fast", "slow", NULL};
static const Property props[] = {
    {"flag", PROP_BOOL, offsetof(Widget, flag), "on", NULL, NULL},
    {"u8", PROP_U8, offsetof(Widget, u8), "7", NULL, NULL},
    {"u16", PROP_U16, offsetof(Widget, u16), NULL, NULL, NULL},
    {"u32", PROP_U32, offsetof(Widget, u32), "0x10", NULL, NULL},
    {"u64", PROP_U64, offsetof(Widget, u64), NULL, NULL, NULL},
    {"size", PROP_SIZE, offsetof(Widget, size), "4k", NULL, NULL},
    {"name", PROP_STRING, offsetof(Widget, name), "bob", NULL, NULL},
    {"drive", PROP_DRIVE, offsetof(Widget, drive), NULL, NULL, NULL},
    {"mac", PROP_MAC, offsetof(Widget, mac), "52:54:00:12:34:56", NULL, NULL},
    {"addr", PROP_PCI_ADDR, offsetof(Widget, addr), "-1", NULL, NULL},
    {"mode", PROP_ENUM, offsetof(Widget, mode), "slow", NULL, modes},
    {0},
};

static GString *trace_log;

static bool widget_realize(Device *dev, GError **err)
{
    Widget *w = (Widget *)dev;

    if (w->u8 == 99) {
        return fail(err, "widget: 99 is not possible");
    }
    bus_init(&w->bus, "WIDGET", "w.0", dev);
    g_string_append_printf(trace_log, "+%s ", dev->id);
    return true;
}

static void widget_unrealize(Device *dev)
{
    g_string_append_printf(trace_log, "-%s ", dev->id);
}

static void widget_reset(Device *dev)
{
    ((Widget *)dev)->resets++;
    g_string_append_printf(trace_log, "r%s ", dev->id);
}

static const DeviceType widget = {.name = "widget",
                                  .size = sizeof(Widget),
                                  .props = props,
                                  .realize = widget_realize,
                                  .unrealize = widget_unrealize,
                                  .reset = widget_reset};
static const DeviceType plug = {.name = "plug",
                                .bus = "WIDGET",
                                .size = sizeof(Widget),
                                .props = props,
                                .realize = widget_realize,
                                .unrealize = widget_unrealize,
                                .reset = widget_reset};

static void refuse(Device *dev, const char *prop, const char *val, const char *word)
{
    GError *err = NULL;

    g_assert_false(device_set(dev, prop, val, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, word) || strchr(err->message, '\n')) {
        g_test_message("%s=%s: %s", prop, val, err->message);
        g_test_fail();
    }
    g_clear_error(&err);
}

static void get_is(Device *dev, const char *prop, const char *want)
{
    char *got = device_get(dev, prop);

    g_assert_cmpstr(got, ==, want);
    g_free(got);
}

static void test_properties(void)
{
    Device *dev = device_new(&widget, NULL);
    Widget *w = (Widget *)dev;

    /* defaults */
    static const char *const defaults[][2] = {
        {"flag", "on"},   {"u8", "7"},      {"u16", "0"},    {"u32", "16"},
        {"size", "4096"}, {"name", "bob"},  {"drive", NULL}, {"mac", "52:54:00:12:34:56"},
        {"addr", "-1"},   {"mode", "slow"}, {"id", NULL},    {"absent", NULL}};
    for (unsigned i = 0; i < G_N_ELEMENTS(defaults); i++) {
        get_is(dev, defaults[i][0], defaults[i][1]);
    }
    /* what each kind takes */
    static const char *const good[][3] = {{"flag", "off", "off"},
                                          {"u8", "0xff", "255"},
                                          {"u16", "65535", "65535"},
                                          {"u32", "4294967295", "4294967295"},
                                          {"u64", "18446744073709551615", "18446744073709551615"},
                                          {"size", "2M", "2097152"},
                                          {"name", "a,b", "a,b"},
                                          {"drive", "d0", "d0"},
                                          {"mac", "00:0a:0B:0c:0d:fe", "00:0a:0b:0c:0d:fe"},
                                          {"addr", "1f.7", "1f.7"},
                                          {"addr", "3", "03.0"},
                                          {"mode", "fast", "fast"},
                                          {"id", "x1", "x1"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        GError *err = NULL;
        g_assert_true(device_set(dev, good[i][0], good[i][1], &err));
        g_assert_no_error(err);
        get_is(dev, good[i][0], good[i][2]);
    }
    g_assert_cmpint(w->addr, ==, 3 << 3);
    /* and what not; the value stays */
    static const char *const bad[][3] = {{"flag", "maybe", "flag"},
                                         {"u8", "256", "255"},
                                         {"u8", "-1", "u8"},
                                         {"u8", "", "u8"},
                                         {"u16", "65536", "65535"},
                                         {"u32", "x", "u32"},
                                         {"size", "2Q", "size"},
                                         {"mac", "00:0a:0b:0c:0d", "mac"},
                                         {"mac", "00:0a:0b:0c:0d:fe:", "mac"},
                                         {"mac", "0:a:b:c:d:e", "mac"},
                                         {"addr", "20", "addr"},
                                         {"addr", "1.8", "addr"},
                                         {"addr", "1.", "addr"},
                                         {"addr", "-2", "addr"},
                                         {"mode", "medium", "fast, slow"},
                                         {"colour", "red", "colour"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        refuse(dev, bad[i][0], bad[i][1], bad[i][2]);
    }
    get_is(dev, "u8", "255");
    get_is(dev, "mac", "00:0a:0b:0c:0d:fe");
    device_free(dev);
}

static void test_life(void)
{
    trace_log = g_string_new(NULL);
    machine_lock();
    Machine *m = machine_new(NULL, NULL);
    GError *err = NULL;

    Device *a = device_new(&widget, m);
    device_set(a, "id", "a", NULL);
    g_assert_true(device_realize(a, NULL, NULL));
    refuse(a, "u8", "1", "in use");
    /* a plug needs its bus */
    Device *b = device_new(&plug, m);
    device_set(b, "id", "b", NULL);
    g_assert_false(device_realize(b, NULL, &err));
    g_assert_nonnull(strstr(err->message, "WIDGET"));
    g_clear_error(&err);
    Bus other;
    bus_init(&other, "PCI", "pci.0", NULL);
    g_assert_false(device_realize(b, &other, &err));
    g_assert_nonnull(strstr(err->message, "pci.0"));
    g_clear_error(&err);
    g_assert_true(device_realize(b, &((Widget *)a)->bus, NULL));
    g_assert_cmpuint(g_list_length(((Widget *)a)->bus.children), ==, 1);
    /* a failure leaves nothing behind */
    Device *c = device_new(&plug, m);
    device_set(c, "u8", "99", NULL);
    g_assert_false(device_realize(c, &((Widget *)a)->bus, &err));
    g_clear_error(&err);
    g_assert_cmpuint(g_list_length(((Widget *)a)->bus.children), ==, 1);
    device_free(c);
    g_assert_cmpuint(m->devices->len, ==, 2);
    g_assert_cmpstr(trace_log->str, ==, "+a ra +b rb ");
    g_string_truncate(trace_log, 0);
    machine_reset(m);
    g_assert_cmpstr(trace_log->str, ==, "ra rb ");
    g_string_truncate(trace_log, 0);
    device_free(a); /* what is plugged into it goes first */
    g_assert_cmpstr(trace_log->str, ==, "-b -a ");
    g_assert_cmpuint(m->devices->len, ==, 0);
    bus_clear(&other);
    machine_free(m);
    machine_unlock();
    g_string_free(trace_log, TRUE);
}

static void test_types(void)
{
    for (unsigned i = 0; device_types[i]; i++) {
        const DeviceType *t = device_types[i];
        g_assert_nonnull(t->name);
        g_assert_nonnull(t->desc);
        g_assert_nonnull(t->reset);
        g_assert_cmpuint(t->size, >=, sizeof(Device));
        g_assert_true(device_type_find(t->name) == t); /* unique */
        /* defaults are well-formed (device_new() checks them) */
        device_free(device_new(t, NULL));
    }
    g_assert_null(device_type_find("no such device"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/device/properties", test_properties);
    g_test_add_func("/device/life", test_life);
    g_test_add_func("/device/types", test_types);
    return g_test_run();
}
