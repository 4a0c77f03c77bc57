/* HMP: devices and character back ends. */
#include "chardev/chardev.h"
#include "core/log.h"
#include "monitor/hmp.h"
#include "net/net.h"
#include <string.h>

static void cmd_chardev_add(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    if (!chardev_new_from_opts(hmp_text(a, "args"), &err)) {
        hmp_error(h, err);
    }
}

static Chardev *need_chardev(Hmp *h, const char *id)
{
    Chardev *chr = chardev_find(id);

    if (!chr) {
        hmp_printf(h, "Error: there is no chardev '%s'\n", id);
    }
    return chr;
}

static void cmd_chardev_remove(Hmp *h, const HmpArgs *a)
{
    Chardev *chr = need_chardev(h, hmp_text(a, "id"));
    GError *err = NULL;

    if (chr && !chardev_remove(chr, &err)) {
        hmp_error(h, err);
    }
}

static void cmd_ringbuf_read(Hmp *h, const HmpArgs *a)
{
    Chardev *chr = need_chardev(h, hmp_text(a, "device"));
    uint64_t left = MIN(hmp_num(a, "size", 0), 1 << 20);
    uint8_t buf[256];
    ssize_t n = 0;

    while (chr && left && (n = chardev_ringbuf_read(chr, buf, MIN(left, sizeof(buf)))) > 0) {
        left -= n;
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] == '\\') {
                hmp_printf(h, "\\\\");
            } else if ((buf[i] < 32 && buf[i] != '\n') || buf[i] >= 127) {
                hmp_printf(h, "\\u%04X", buf[i]);
            } else {
                hmp_printf(h, "%c", buf[i]);
            }
        }
    }
    if (n < 0) {
        hmp_printf(h, "Error: chardev '%s' is no ring buffer", hmp_text(a, "device"));
    }
    hmp_printf(h, "\n");
}

static void cmd_ringbuf_write(Hmp *h, const HmpArgs *a)
{
    Chardev *chr = need_chardev(h, hmp_text(a, "device"));
    const char *data = hmp_text(a, "data");

    if (chr && chardev_ringbuf_inject(chr, (const uint8_t *)data, strlen(data)) < 0) {
        hmp_printf(h, "Error: chardev '%s' is no ring buffer\n", hmp_text(a, "device"));
    }
}

static void cmd_device_add(Hmp *h, const HmpArgs *a)
{
    const MonitorHooks *hooks = monitor_hooks();
    GError *err = NULL;

    if (!hooks->device_add) {
        hmp_printf(h, "Error: devices cannot be added here\n");
    } else if (!hooks->device_add(h->m, hmp_text(a, "device"), &err)) {
        hmp_error(h, err);
    }
}

static void cmd_device_del(Hmp *h, const HmpArgs *a)
{
    const char *id = hmp_text(a, "id");

    for (guint i = 0; i < h->m->devices->len; i++) {
        Device *dev = h->m->devices->pdata[i];
        if (dev->id && !strcmp(dev->id, id)) {
            if (!dev->type->user_creatable || !dev->bus || !strcmp(dev->bus->kind, "ISA")) {
                hmp_printf(h, "Error: device '%s' does not support hot unplugging\n", id);
            } else {
                device_free(dev);
            }
            return;
        }
    }
    hmp_printf(h, "Error: Device '%s' not found\n", id);
}

static void done(Hmp *h, bool ok, GError *err)
{
    if (!ok) {
        hmp_error(h, err);
    }
}

static void cmd_usb_add(Hmp *h, const HmpArgs *a)
{
    const MonitorHooks *hooks = monitor_hooks();
    GError *err = NULL;
    bool ok = hooks->usb_add ? hooks->usb_add(h->m, hmp_text(a, "device"), &err)
                             : fail(&err, "USB devices cannot be added here");

    done(h, ok, err);
}

static void cmd_usb_del(Hmp *h, const HmpArgs *a)
{
    const MonitorHooks *hooks = monitor_hooks();
    GError *err = NULL;
    bool ok = hooks->usb_del ? hooks->usb_del(h->m, hmp_text(a, "device"), &err)
                             : fail(&err, "USB devices cannot be removed here");

    done(h, ok, err);
}

static void cmd_netdev_add(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;
    bool ok = net_new_from_opts(h->m, "netdev_add", hmp_text(a, "netdev"), NULL, &err) != NULL;

    done(h, ok, err);
}

static void cmd_netdev_del(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;
    bool ok = net_del(h->m, hmp_text(a, "id"), &err);

    done(h, ok, err);
}

static void cmd_set_link(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;
    bool ok = net_set_link_by_name(h->m, hmp_text(a, "name"), hmp_num(a, "up", 0), &err);

    done(h, ok, err);
}

/* The back end's id may stand before the rule. */
static void hostfwd(Hmp *h, const HmpArgs *a,
                    bool (*fn)(Machine *m, const char *id, const char *rule, GError **err))
{
    const char *first = hmp_text(a, "arg1"), *second = hmp_text(a, "arg2");
    GError *err = NULL;
    bool ok = fn(h->m, second ? first : NULL, second ? second : first, &err);

    done(h, ok, err);
}

static void cmd_hostfwd_add(Hmp *h, const HmpArgs *a)
{
    hostfwd(h, a, net_user_hostfwd_add);
}

static void cmd_hostfwd_remove(Hmp *h, const HmpArgs *a)
{
    hostfwd(h, a, net_user_hostfwd_remove);
}

static void cmd_balloon(Hmp *h, const HmpArgs *a)
{
    MachineBalloon *b = &h->m->balloon;
    uint64_t mib = hmp_num(a, "value", 0);

    if (!b->opaque) {
        hmp_printf(h, "Error: No balloon device has been activated\n");
    } else if (mib == 0 || mib > UINT64_MAX >> 20) {
        hmp_printf(h, "Error: the size must be a number of MiB that is not 0\n");
    } else {
        b->set_target(b->opaque, mib << 20);
    }
}

const HmpCommand hmp_device_commands[] = {
    {"balloon", "value:i", "target", "request VM to change its memory allocation (in MB)",
     cmd_balloon},
    {"device_add", "device:S", "driver[,prop=value][,...]", "add device, like -device",
     cmd_device_add},
    {"device_del", "id:s", "device", "remove device", cmd_device_del},
    {"usb_add", "device:S", "device", "add USB device, like -usbdevice", cmd_usb_add},
    {"usb_del", "device:s", "device", "remove USB device 'bus.number', see info usb", cmd_usb_del},
    {"netdev_add", "netdev:S", "[user|tap|hubport],id=str[,prop=value][,...]",
     "add host network device", cmd_netdev_add},
    {"netdev_del", "id:s", "id", "remove host network device", cmd_netdev_del},
    {"set_link", "name:s,up:b", "name on|off", "change the link status of a network adapter",
     cmd_set_link},
    {"hostfwd_add", "arg1:s,arg2:s?",
     "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
     "redirect TCP or UDP connections from host to guest", cmd_hostfwd_add},
    {"hostfwd_remove", "arg1:s,arg2:s?", "[netdev_id] [tcp|udp]:[hostaddr]:hostport",
     "remove host-to-guest TCP or UDP redirection", cmd_hostfwd_remove},
    {"chardev-add", "args:S", "args", "add chardev", cmd_chardev_add},
    {"chardev-remove", "id:s", "id", "remove chardev", cmd_chardev_remove},
    {"ringbuf_read", "device:s,size:i", "device size", "read from a ring buffer character device",
     cmd_ringbuf_read},
    {"ringbuf_write", "device:s,data:S", "device data", "write to a ring buffer character device",
     cmd_ringbuf_write},
    {NULL},
};
