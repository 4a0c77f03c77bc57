/* All device types that are linked in. One line in each list for a new device. */
#include "core/device.h"

const DeviceType *const device_types[] = {
    NULL,
};
