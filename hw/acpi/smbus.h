/*
 * The SMBus host controller of the 82371AB, with SPD EEPROMs on the bus.
 */
#ifndef RHEA_HW_ACPI_SMBUS_H
#define RHEA_HW_ACPI_SMBUS_H

#include "core/memory.h"
#include "core/state.h"

#define SMBUS_EEPROMS 8
#define SMBUS_PORTS 16

typedef struct SmbusHost {
    MemRegion ports; /* the owner maps it */
    void (*irq)(void *opaque, bool level);
    void *opaque;
    uint8_t status, slave_status, control, command, address, data0, data1;
    uint8_t slave_control, shadow_command;
    uint16_t slave_event, slave_data;
    uint8_t block[32], block_len, block_pos;
    uint8_t eeprom_pos[SMBUS_EEPROMS];
    bool eeprom_present[SMBUS_EEPROMS];
    uint8_t eeprom[SMBUS_EEPROMS][256];
} SmbusHost;

/* @irq is called with the level of the host interrupt. */
void smbus_init(SmbusHost *s, void (*irq)(void *opaque, bool level), void *opaque);
void smbus_reset(SmbusHost *s);
/* DDR2 module descriptions that add up to @ram_size as far as they can. */
void smbus_set_memory(SmbusHost *s, uint64_t ram_size);

extern const StateTable smbus_state;

#endif
