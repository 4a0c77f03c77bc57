/*
 * EDID: what a monitor says of itself.
 */
#ifndef RHEA_HW_EDID_H
#define RHEA_HW_EDID_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define EDID_SIZE 128

/* The base block of a monitor whose preferred mode is @w × @h at 60 Hz, CVT reduced blanking.
 * False: sizes are 640…4095 by 480…4095, as far as a pixel clock of 655.35 MHz goes. */
bool edid_make(uint8_t out[EDID_SIZE], unsigned w, unsigned h, GError **err);

#endif
