/* 93C46 serial EEPROM: see eeprom93c46.h. */
#include "hw/net/eeprom93c46.h"
#include "core/log.h"

enum { EEPROM_IDLE, EEPROM_COMMAND, EEPROM_READ, EEPROM_WRITE, EEPROM_DONE };
enum { OP_SPECIAL, OP_WRITE, OP_READ, OP_ERASE };
enum { SPECIAL_DISABLE, SPECIAL_WRITE_ALL, SPECIAL_ERASE_ALL, SPECIAL_ENABLE };

void eeprom93c46_reset(Eeprom *e)
{
    e->cs = e->sk = e->writable = false;
    e->dout = true;
    e->phase = EEPROM_IDLE;
    e->count = e->op = 0;
    e->shift = 0;
}

static void fill(Eeprom *e, uint16_t val)
{
    for (unsigned i = 0; i < EEPROM93C46_WORDS; i++) {
        e->words[i] = val;
    }
}

static void command(Eeprom *e)
{
    unsigned op = e->op >> 6, addr = e->op & 63;

    e->count = 0;
    e->phase = EEPROM_DONE;
    if (op == OP_READ) {
        e->phase = EEPROM_READ;
        e->shift = e->words[addr];
        e->dout = false; /* the dummy bit */
    } else if (op == OP_WRITE || (op == OP_SPECIAL && addr >> 4 == SPECIAL_WRITE_ALL)) {
        e->phase = EEPROM_WRITE;
        e->shift = 0;
    } else if (op == OP_ERASE) {
        if (e->writable) {
            e->words[addr] = 0xffff;
        }
    } else if (addr >> 4 == SPECIAL_ERASE_ALL) {
        if (e->writable) {
            fill(e, 0xffff);
        }
    } else {
        e->writable = addr >> 4 == SPECIAL_ENABLE;
    }
}

static void store(Eeprom *e)
{
    e->phase = EEPROM_DONE;
    if (!e->writable) {
        guest_error("93C46: write while writing is disabled");
    } else if (e->op >> 6 == OP_WRITE) {
        e->words[e->op & 63] = e->shift;
    } else {
        fill(e, e->shift);
    }
}

static void clock_rises(Eeprom *e, bool di)
{
    switch (e->phase) {
    case EEPROM_IDLE:
        if (di) {
            e->phase = EEPROM_COMMAND;
            e->count = e->op = 0;
        }
        break;
    case EEPROM_COMMAND:
        e->op = (uint8_t)(e->op << 1 | di);
        if (++e->count == 8) {
            command(e);
        }
        break;
    case EEPROM_READ:
        e->dout = e->shift >> 15;
        e->shift = (uint16_t)(e->shift << 1);
        if (++e->count == 16) { /* goes on with the next word */
            e->op = (e->op & 0xc0) | ((e->op + 1) & 63);
            e->shift = e->words[e->op & 63];
            e->count = 0;
        }
        break;
    case EEPROM_WRITE:
        e->shift = (uint16_t)(e->shift << 1 | di);
        if (++e->count == 16) {
            store(e);
        }
        break;
    default:
        break;
    }
}

void eeprom93c46_pins(Eeprom *e, bool cs, bool sk, bool di)
{
    if (!cs || !e->cs) {
        e->phase = EEPROM_IDLE;
        e->dout = true; /* ready: writing takes no time here */
    }
    if (cs && e->cs && sk && !e->sk) {
        clock_rises(e, di);
    }
    e->cs = cs;
    e->sk = sk;
}

static bool post_load(void *obj, GError **err)
{
    Eeprom *e = obj;

    return (e->phase <= EEPROM_DONE && e->count < 16) ||
           fail(err, "The saved state of an EEPROM is impossible");
}

static const StateField fields[] = {STATE_U16_ARRAY(Eeprom, words), STATE_BOOL(Eeprom, cs),
                                    STATE_BOOL(Eeprom, sk),         STATE_BOOL(Eeprom, dout),
                                    STATE_BOOL(Eeprom, writable),   STATE_U8(Eeprom, phase),
                                    STATE_U8(Eeprom, count),        STATE_U8(Eeprom, op),
                                    STATE_U16(Eeprom, shift),       STATE_END_FIELD};
const StateTable eeprom93c46_state = {
    .name = "eeprom93c46", .version = 1, .fields = fields, .post_load = post_load};
