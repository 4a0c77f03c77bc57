/* Short names of USB devices; see usbdevice.h. */
#include "system/usbdevice.h"
#include "block/drive.h"
#include "chardev/chardev.h"
#include "core/log.h"
#include "hw/usb/usb.h"
#include "system/devices.h"
#include <string.h>

#define DISK_ID "#usb-disk"
#define SERIAL_ID "#usb-serial"

static const char *const plain[][2] = {
    {"tablet", "usb-tablet"},
    {"mouse", "usb-mouse"},
    {"keyboard", "usb-kbd"},
    {"hub", "usb-hub"},
};

/* disk:FILE or disk:format=FORMAT:FILE */
static bool create_disk(Machine *m, const char *spec, GError **err)
{
    g_autofree char *format = NULL, *id = NULL, *device = NULL;

    if (g_str_has_prefix(spec, "format=")) {
        const char *end = strchr(spec, ':');
        if (!end) {
            return fail(err, "-usbdevice disk:%s: the file's name is missing", spec);
        }
        format = g_strndup(spec + 7, (gsize)(end - spec - 7));
        spec = end + 1;
        if (strcmp(format, "raw") && strcmp(format, "qcow2")) {
            return fail(err, "-usbdevice disk: format=%s is not supported; raw and qcow2 are",
                        format);
        }
    }
    if (!*spec) {
        return fail(err, "-usbdevice disk: the file's name is missing");
    }
    for (unsigned i = 0; !id || drive_find(m, id); i++) {
        g_free(id);
        id = g_strdup_printf(DISK_ID "%u", i);
    }
    DriveSpec *d = drive_new(spec, DRIVE_IF_NONE, -1, false);
    d->id = g_strdup(id);
    d->format = g_steal_pointer(&format);
    d->snapshot = m->cfg.snapshot;
    g_ptr_array_add(m->cfg.drives, d);
    device = g_strdup_printf("usb-storage,drive=%s", id);
    /* The drive goes with its device. */
    return device_create_from_text(m, device, err) || (g_ptr_array_remove(m->cfg.drives, d), false);
}

static bool create_serial(Machine *m, const char *spec, GError **err)
{
    g_autofree char *id = NULL, *device = NULL;
    Chardev *chr;

    for (unsigned i = 0; !id || chardev_find(id); i++) {
        g_free(id);
        id = g_strdup_printf(SERIAL_ID "%u", i);
    }
    spec += *spec == ':'; /* serial::pty, an old spelling */
    chr = chardev_new_from_spec(id, spec, false, err);
    if (!chr) {
        return err && *err ? false
                           : fail(err, "-usbdevice serial:%s: a port needs a back end", spec);
    }
    device = g_strdup_printf("usb-serial,chardev=%s", chardev_label(chr));
    if (!device_create_from_text(m, device, err)) {
        if (!strcmp(chardev_label(chr), id)) {
            chardev_remove(chr, NULL);
        }
        return false;
    }
    return true;
}

bool usb_device_create(Machine *m, const char *text, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (!strcmp(text, plain[i][0])) {
            return device_create_from_text(m, plain[i][1], err);
        }
    }
    if (g_str_has_prefix(text, "disk:")) {
        return create_disk(m, text + 5, err);
    }
    if (g_str_has_prefix(text, "serial:")) {
        return create_serial(m, text + 7, err);
    }
    return fail(err,
                "-usbdevice: there is no device '%s'; use tablet, mouse, keyboard, hub, disk:FILE "
                "or serial:DEV",
                text);
}

bool usb_devices_create(Machine *m, const SystemConfig *c, GError **err)
{
    for (guint i = 0; i < c->usbdevices->len; i++) {
        if (!usb_device_create(m, c->usbdevices->pdata[i], err)) {
            return false;
        }
    }
    return true;
}

bool usb_device_remove(Machine *m, const char *name, GError **err)
{
    UsbDevice *d = usb_find(m, name);
    g_autofree char *chardev = NULL;

    if (!d) {
        return fail(err, "there is no USB device '%s'; see 'info usb'", name);
    }
    if (!strcmp(d->dev.type->name, "usb-serial")) {
        chardev = device_get(&d->dev, "chardev");
    }
    device_free(&d->dev);
    if (chardev && g_str_has_prefix(chardev, SERIAL_ID) && chardev_find(chardev)) {
        chardev_remove(chardev_find(chardev), NULL);
    }
    return true;
}
