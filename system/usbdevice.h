/* -usbdevice, usb_add and usb_del. Machine lock, or before vCPUs run. */
#ifndef RHEA_SYSTEM_USBDEVICE_H
#define RHEA_SYSTEM_USBDEVICE_H

#include "system/sysconfig.h"

/* All of -usbdevice, in order. */
bool usb_devices_create(Machine *m, const SystemConfig *c, GError **err);
/* One, by what stands after -usbdevice. On failure nothing is left over. */
bool usb_device_create(Machine *m, const char *text, GError **err);
/* The device that `info usb` lists as @name ("0.2"), with the drive or chardev made for it. */
bool usb_device_remove(Machine *m, const char *name, GError **err);

#endif
