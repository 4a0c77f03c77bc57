/*
 * 93C46 serial EEPROM, 64 words of 16 bits (Atmel AT93C46 data sheet), as network cards have it.
 */
#ifndef RHEA_HW_NET_EEPROM93C46_H
#define RHEA_HW_NET_EEPROM93C46_H

#include "core/state.h"

#define EEPROM93C46_WORDS 64

typedef struct Eeprom {
    uint16_t words[EEPROM93C46_WORDS];
    bool cs, sk, dout, writable;
    uint8_t phase; /* EEPROM_… of the .c file */
    uint8_t count; /* bits shifted in this phase */
    uint8_t op;    /* opcode and address: 8 bits */
    uint16_t shift;
} Eeprom;

extern const StateTable eeprom93c46_state;

/* The interface back to idle; the words stay. */
void eeprom93c46_reset(Eeprom *e);
/* The levels of the three inputs; the output is @e->dout. */
void eeprom93c46_pins(Eeprom *e, bool cs, bool sk, bool di);

#endif
