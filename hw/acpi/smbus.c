/*
 * SMBus host controller: "82371AB PCI-TO-ISA/IDE XCELERATOR (PIIX4)", order number 290562, 7.3.
 * SPD contents: JEDEC Standard 21-C, 4.1.2.10 (DDR2). The slave interface is stored only.
 */
#include "hw/acpi/smbus.h"
#include "core/log.h"
#include <string.h>

enum {
    R_STATUS = 0,
    R_SLAVE_STATUS = 1,
    R_CONTROL = 2,
    R_COMMAND = 3,
    R_ADDRESS = 4,
    R_DATA0 = 5,
    R_DATA1 = 6,
    R_BLOCK = 7,
    R_SLAVE_CONTROL = 8,
    R_SHADOW_COMMAND = 9,
    R_SLAVE_EVENT = 10,
    R_SLAVE_DATA = 12,

    STS_INTERRUPT = 2,
    STS_DEVICE_ERROR = 4,
    STS_BUS_ERROR = 8,
    STS_FAILED = 16,
    STS_W1C = STS_INTERRUPT | STS_DEVICE_ERROR | STS_BUS_ERROR | STS_FAILED,

    CNT_INTERRUPT = 1,
    CNT_KILL = 2,
    CNT_START = 0x40,

    PROT_QUICK = 0,
    PROT_BYTE = 1,
    PROT_BYTE_DATA = 2,
    PROT_WORD_DATA = 3,
    PROT_BLOCK = 5,

    EEPROM_ADDRESS = 0x50,
};

static void update_irq(SmbusHost *s)
{
    s->irq(s->opaque, (s->control & CNT_INTERRUPT) && (s->status & STS_W1C));
}

/* ---- the EEPROMs ---- */

static uint8_t eeprom_next(SmbusHost *s, unsigned n)
{
    return s->eeprom[n][s->eeprom_pos[n]++];
}

/* One transaction with EEPROM @n; writes are taken and do nothing: the part is write-protected. */
static bool eeprom_run(SmbusHost *s, unsigned n, unsigned protocol, bool read)
{
    switch (protocol) {
    case PROT_QUICK:
        return true;
    case PROT_BYTE:
        if (read) {
            s->data0 = eeprom_next(s, n);
        } else {
            s->eeprom_pos[n] = s->command;
        }
        return true;
    case PROT_BYTE_DATA:
    case PROT_WORD_DATA:
        s->eeprom_pos[n] = s->command;
        if (read) {
            s->data0 = eeprom_next(s, n);
            if (protocol == PROT_WORD_DATA) {
                s->data1 = eeprom_next(s, n);
            }
        }
        return true;
    case PROT_BLOCK:
        s->eeprom_pos[n] = s->command;
        if (read) {
            /* The part knows no lengths: its first byte is taken for one. */
            unsigned len = eeprom_next(s, n);
            s->block_len = (uint8_t)MIN(len, sizeof(s->block));
            s->data0 = s->block_len;
            for (unsigned i = 0; i < s->block_len; i++) {
                s->block[i] = eeprom_next(s, n);
            }
        }
        return true;
    default:
        return false;
    }
}

static void run(SmbusHost *s)
{
    unsigned addr = s->address >> 1, n = addr - EEPROM_ADDRESS;
    unsigned protocol = (s->control >> 2) & 7;

    if (protocol != PROT_QUICK && protocol != PROT_BYTE && protocol != PROT_BYTE_DATA &&
        protocol != PROT_WORD_DATA && protocol != PROT_BLOCK) {
        guest_error("smbus: reserved protocol %u", protocol);
        s->status |= STS_FAILED;
    } else if (addr < EEPROM_ADDRESS || n >= SMBUS_EEPROMS || !s->eeprom_present[n] ||
               !eeprom_run(s, n, protocol, s->address & 1)) {
        s->status |= STS_DEVICE_ERROR; /* nobody acknowledged */
    } else {
        s->status |= STS_INTERRUPT;
    }
}

/* ---- registers ---- */

static uint64_t ports_read(void *opaque, uint64_t off, unsigned size)
{
    SmbusHost *s = opaque;

    switch (off) {
    case R_STATUS:
        return s->status;
    case R_SLAVE_STATUS:
        return s->slave_status;
    case R_CONTROL:
        s->block_pos = 0;
        return s->control;
    case R_COMMAND:
        return s->command;
    case R_ADDRESS:
        return s->address;
    case R_DATA0:
        return s->data0;
    case R_DATA1:
        return s->data1;
    case R_BLOCK: {
        uint8_t val = s->block[s->block_pos];
        s->block_pos = (uint8_t)((s->block_pos + 1) % sizeof(s->block));
        return val;
    }
    case R_SLAVE_CONTROL:
        return s->slave_control;
    case R_SHADOW_COMMAND:
        return s->shadow_command;
    case R_SLAVE_EVENT:
    case R_SLAVE_EVENT + 1:
        return (s->slave_event >> (8 * (off - R_SLAVE_EVENT))) & 0xff;
    case R_SLAVE_DATA:
    case R_SLAVE_DATA + 1:
        return (s->slave_data >> (8 * (off - R_SLAVE_DATA))) & 0xff;
    default:
        return 0xff;
    }
}

static void write_control(SmbusHost *s, uint8_t val)
{
    s->block_pos = 0;
    s->control = val & ~CNT_START;
    if (val & CNT_KILL) {
        s->status |= STS_FAILED;
    } else if (val & CNT_START) {
        /* Runs at once, so that HOST_BUSY is never seen. */
        run(s);
    }
}

static void ports_write(void *opaque, uint64_t off, uint64_t val64, unsigned size)
{
    SmbusHost *s = opaque;
    uint8_t val = (uint8_t)val64;

    switch (off) {
    case R_STATUS:
        s->status &= (uint8_t) ~(val & STS_W1C);
        break;
    case R_SLAVE_STATUS:
        s->slave_status &= (uint8_t) ~(val & 0x3c);
        break;
    case R_CONTROL:
        write_control(s, val);
        break;
    case R_COMMAND:
        s->command = val;
        break;
    case R_ADDRESS:
        s->address = val;
        break;
    case R_DATA0:
        s->data0 = val;
        break;
    case R_DATA1:
        s->data1 = val;
        break;
    case R_BLOCK:
        s->block[s->block_pos] = val;
        s->block_pos = (uint8_t)((s->block_pos + 1) % sizeof(s->block));
        break;
    case R_SLAVE_CONTROL:
        s->slave_control = val & 0x0f;
        break;
    case R_SLAVE_EVENT:
        s->slave_event = (uint16_t)((s->slave_event & 0xff00) | val);
        break;
    case R_SLAVE_EVENT + 1:
        s->slave_event = (uint16_t)((s->slave_event & 0x00ff) | val << 8);
        break;
    default: /* read only */
        break;
    }
    update_irq(s);
}

static const MemOps ports_ops = {.read = ports_read, .write = ports_write, .impl_max = 1};

/* ---- life ---- */

void smbus_init(SmbusHost *s, void (*irq)(void *opaque, bool level), void *opaque)
{
    memset(s, 0, sizeof(*s));
    s->irq = irq;
    s->opaque = opaque;
    mem_region_init_io(&s->ports, "smbus", &ports_ops, s, SMBUS_PORTS);
}

void smbus_reset(SmbusHost *s)
{
    s->status = s->slave_status = s->control = s->command = s->address = 0;
    s->data0 = s->data1 = s->slave_control = s->shadow_command = 0;
    s->slave_event = s->slave_data = 0;
    s->block_len = s->block_pos = 0;
    memset(s->block, 0, sizeof(s->block));
    memset(s->eeprom_pos, 0, sizeof(s->eeprom_pos));
    update_irq(s);
}

/* A DDR2-400 unbuffered module with one rank of 2^@log MiB (7…14). */
static void fill_spd(uint8_t *spd, unsigned log)
{
    /* Rank density, byte 31: bit 0 = 1 GiB … bit 4 = 16 GiB, bit 5 = 128 MiB … bit 7 = 512 MiB. */
    static const uint8_t head[] = {128, 8,    8,    14, 10, 0x60, 64, 0,    5, 0x50, 0x60,
                                   0,   0x82, 8,    0,  0,  0x0c, 4,  0x38, 0, 2,    0,
                                   1,   0x50, 0x60, 0,  0,  60,   30, 60,   40};
    uint8_t sum = 0;

    memset(spd, 0, 256);
    memcpy(spd, head, sizeof(head));
    spd[31] = (uint8_t)(log >= 10 ? 1u << (log - 10) : 1u << (log - 2));
    spd[62] = 0x12;
    for (unsigned i = 0; i < 63; i++) {
        sum += spd[i];
    }
    spd[63] = sum;
}

void smbus_set_memory(SmbusHost *s, uint64_t ram_size)
{
    uint64_t mib = ram_size >> 20;
    unsigned n = 0;

    memset(s->eeprom_present, 0, sizeof(s->eeprom_present));
    for (unsigned log = 14; log >= 7; log--) {
        while (mib >> log && n < SMBUS_EEPROMS) {
            fill_spd(s->eeprom[n], log);
            s->eeprom_present[n++] = true;
            mib -= 1ull << log;
        }
    }
}

static bool post_load(void *obj, GError **err)
{
    SmbusHost *s = obj;
    if (s->block_pos >= sizeof(s->block) || s->block_len > sizeof(s->block)) {
        return fail(err, "saved state of the SMBus controller: block position out of range");
    }
    return true;
}

static const StateField fields[] = {
    STATE_U8(SmbusHost, status),
    STATE_U8(SmbusHost, slave_status),
    STATE_U8(SmbusHost, control),
    STATE_U8(SmbusHost, command),
    STATE_U8(SmbusHost, address),
    STATE_U8(SmbusHost, data0),
    STATE_U8(SmbusHost, data1),
    STATE_U8(SmbusHost, slave_control),
    STATE_U8(SmbusHost, shadow_command),
    STATE_U16(SmbusHost, slave_event),
    STATE_U16(SmbusHost, slave_data),
    STATE_U8_ARRAY(SmbusHost, block),
    STATE_U8(SmbusHost, block_len),
    STATE_U8(SmbusHost, block_pos),
    STATE_U8_ARRAY(SmbusHost, eeprom_pos),
    STATE_END_FIELD,
};

const StateTable smbus_state = {
    .name = "smbus", .version = 1, .fields = fields, .post_load = post_load};
