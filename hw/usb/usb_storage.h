/* usb-storage: what the monitor does with its medium. Machine lock. */
#ifndef RHEA_HW_USB_USB_STORAGE_H
#define RHEA_HW_USB_USB_STORAGE_H

#include "core/device.h"

extern const DeviceType usb_storage_type;

bool usb_storage_is(const Device *dev);
/* The id of its -drive. */
const char *usb_storage_drive(const Device *dev);
/* Put @file in, or nothing (NULL); @force: also when the guest has locked the medium. */
bool usb_storage_change(Device *dev, const char *file, const char *format, bool force,
                        GError **err);

#endif
