/*
 * NOR flash: Common Flash Interface (JEDEC JESD68.01), Intel StrataFlash (J3) data sheet 290667 for
 * the command set. Both chips of the bank get each command and answer in their half of the bus.
 */
#include "hw/block/pflash.h"
#include "block/block.h"
#include "block/drive.h"
#include "core/log.h"
#include <inttypes.h>
#include <string.h>

enum {
    CMD_ARRAY = 0xff,
    CMD_ID = 0x90,
    CMD_QUERY = 0x98,
    CMD_STATUS = 0x70,
    CMD_CLEAR = 0x50,
    CMD_ERASE = 0x20,
    CMD_PROGRAM = 0x40,
    CMD_PROGRAM_ALT = 0x10,
    CMD_BUFFER = 0xe8,
    CMD_LOCK = 0x60,
    CMD_CONFIRM = 0xd0,
    CMD_LOCK_SET = 0x01,

    SR_READY = 0x80,
    SR_ERASE_ERROR = 0x20,
    SR_PROGRAM_ERROR = 0x10,
    SR_LOCKED = 0x02,

    WIDTH = 4,          /* bytes of the bus */
    BUFFER_WORDS = 512, /* bus words of the write buffer */
};

typedef enum {
    ST_ARRAY,
    ST_ID,
    ST_QUERY,
    ST_STATUS,
    ST_ERASE,   /* waits for the confirmation */
    ST_PROGRAM, /* waits for the word */
    ST_COUNT,   /* waits for the number of words */
    ST_BUFFER,  /* takes words */
    ST_BUFFER_END,
    ST_LOCK,
    ST_STATES,
} PflashState;

struct Pflash {
    Device dev;
    MemRegion rom, io; /* io covers rom unless the state is ST_ARRAY */
    char *name;
    uint64_t size;
    BlockDev *block; /* NULL: volatile */
    DriveSpec *drive;
    bool readonly, has_image;
    uint8_t state, status;
    uint32_t left; /* words of the buffer to come */
    uint32_t buffer_n, buffer_off[BUFFER_WORDS], buffer[BUFFER_WORDS];
};

static uint32_t both(uint16_t v)
{
    return v | (uint32_t)v << 16;
}

static void set_state(Pflash *s, PflashState state)
{
    s->state = state;
    mem_region_set_enabled(&s->io, state != ST_ARRAY);
}

/* ---- query table (JESD68.01, 1.3: offsets in words of a chip) ---- */

static uint8_t query(const Pflash *s, unsigned at)
{
    unsigned blocks = s->size / PFLASH_BLOCK, chip = __builtin_ctzll(s->size / 2);
    unsigned chip_block = PFLASH_BLOCK / 2;

    switch (at) {
    case 0x10:
        return 'Q';
    case 0x11:
        return 'R';
    case 0x12:
        return 'Y';
    case 0x13:
        return 1; /* Intel command set */
    case 0x15:
        return 0x31; /* where its table is */
    case 0x1b:
        return 0x45; /* 4.5 to 5.5 V */
    case 0x1c:
        return 0x55;
    case 0x1f:
        return 7; /* 2^n µs a word */
    case 0x20:
        return 7; /* a buffer */
    case 0x21:
        return 10; /* 2^n ms a block */
    case 0x23:
    case 0x24:
    case 0x25:
        return 4; /* at most 2^n times that */
    case 0x27:
        return chip;
    case 0x28:
        return 2; /* interface: x8 and x16 */
    case 0x2a:
        return 10; /* buffer of 2^n bytes a chip */
    case 0x2c:
        return 1; /* one kind of block */
    case 0x2d:
        return (blocks - 1) & 0xff;
    case 0x2e:
        return (blocks - 1) >> 8;
    case 0x2f:
        return chip_block >> 8 & 0xff;
    case 0x30:
        return chip_block >> 16;
    case 0x31:
        return 'P';
    case 0x32:
        return 'R';
    case 0x33:
        return 'I';
    case 0x34:
        return '1';
    case 0x35:
        return '0';
    default:
        return 0;
    }
}

static uint32_t read_word(Pflash *s, uint64_t off)
{
    unsigned at = off / WIDTH;

    switch (s->state) {
    case ST_ID:
        /* manufacturer Intel, a 128 Mbit device; block lock bits are clear */
        return both((at & 0xff) == 0 ? 0x89 : (at & 0xff) == 1 ? 0x18 : 0);
    case ST_QUERY:
        return both(query(s, at & 0xff));
    default:
        return both(s->status);
    }
}

static uint64_t flash_read(void *opaque, uint64_t off, unsigned size)
{
    return read_word(opaque, off & ~3ull) >> (off & 3) * 8;
}

/* ---- programming ---- */

static void write_back(Pflash *s, uint64_t off, uint64_t len)
{
    int ret;

    mem_set_dirty(&s->rom, off, len);
    if (!s->block || off >= block_size(s->block)) {
        return;
    }
    len = MIN(len, block_size(s->block) - off);
    ret = block_pwrite(s->block, off, s->rom.host + off, len);
    if (ret < 0) {
        error_report("flash %s: cannot write: %s", s->name, g_strerror(-ret));
        s->status |= SR_PROGRAM_ERROR;
    }
}

static bool writable(Pflash *s, uint8_t error)
{
    if (s->readonly) {
        s->status |= error | SR_LOCKED;
    }
    return !s->readonly;
}

/* Bits can only be cleared. */
static void program(Pflash *s, uint64_t off, uint32_t val, unsigned size)
{
    for (unsigned i = 0; i < size && off + i < s->size; i++) {
        s->rom.host[off + i] &= val >> 8 * i;
    }
}

static void erase(Pflash *s, uint64_t off)
{
    off &= ~(uint64_t)(PFLASH_BLOCK - 1);
    if (writable(s, SR_ERASE_ERROR)) {
        memset(s->rom.host + off, 0xff, PFLASH_BLOCK);
        write_back(s, off, PFLASH_BLOCK);
    }
}

static void flush_buffer(Pflash *s)
{
    uint64_t lo = s->size, hi = 0;

    if (!s->buffer_n || !writable(s, SR_PROGRAM_ERROR)) {
        return;
    }
    for (unsigned i = 0; i < s->buffer_n; i++) {
        program(s, s->buffer_off[i], s->buffer[i], WIDTH);
        lo = MIN(lo, s->buffer_off[i]);
        hi = MAX(hi, s->buffer_off[i] + (uint64_t)WIDTH);
    }
    write_back(s, lo, hi - lo);
}

static void command(Pflash *s, uint64_t off, uint8_t cmd)
{
    switch (cmd) {
    case 0x00:
    case 0xf0: /* AMD's reset: probing drivers send it */
    case CMD_ARRAY:
        set_state(s, ST_ARRAY);
        break;
    case CMD_ID:
        set_state(s, ST_ID);
        break;
    case CMD_QUERY:
        set_state(s, ST_QUERY);
        break;
    case CMD_STATUS:
        set_state(s, ST_STATUS);
        break;
    case CMD_CLEAR:
        s->status = SR_READY;
        break;
    case CMD_ERASE:
        set_state(s, ST_ERASE);
        break;
    case CMD_PROGRAM:
    case CMD_PROGRAM_ALT:
        set_state(s, ST_PROGRAM);
        break;
    case CMD_BUFFER:
        s->status |= SR_READY;
        s->buffer_n = 0;
        set_state(s, ST_COUNT);
        break;
    case CMD_LOCK:
        set_state(s, ST_LOCK);
        break;
    default:
        guest_error("flash %s: there is no command %02x", s->name, cmd);
        set_state(s, ST_ARRAY);
    }
}

static void flash_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Pflash *s = opaque;
    uint8_t cmd = val;

    switch (s->state) {
    case ST_ERASE:
        if (cmd == CMD_CONFIRM) {
            erase(s, off);
        } else {
            s->status |= SR_ERASE_ERROR | SR_PROGRAM_ERROR; /* command sequence error */
        }
        set_state(s, ST_STATUS);
        break;
    case ST_PROGRAM:
        if (writable(s, SR_PROGRAM_ERROR)) {
            program(s, off, (uint32_t)val, size);
            write_back(s, off, size);
        }
        set_state(s, ST_STATUS);
        break;
    case ST_COUNT:
        s->left = (val & 0xffff) + 1;
        if (s->left > BUFFER_WORDS) {
            s->status |= SR_ERASE_ERROR | SR_PROGRAM_ERROR;
            set_state(s, ST_STATUS);
        } else {
            set_state(s, ST_BUFFER);
        }
        break;
    case ST_BUFFER:
        s->buffer_off[s->buffer_n] = off & ~3ull;
        s->buffer[s->buffer_n++] = size == WIDTH ? (uint32_t)val
                                                 : ~(((1u << size * 8) - 1) << (off & 3) * 8) |
                                                       (uint32_t)val << (off & 3) * 8;
        if (!--s->left) {
            set_state(s, ST_BUFFER_END);
        }
        break;
    case ST_BUFFER_END:
        if (cmd == CMD_CONFIRM) {
            flush_buffer(s);
        } else {
            s->status |= SR_ERASE_ERROR | SR_PROGRAM_ERROR;
        }
        set_state(s, ST_STATUS);
        break;
    case ST_LOCK:
        /* Locks are not kept: every block stays unlocked. */
        if (cmd != CMD_CONFIRM && cmd != CMD_LOCK_SET) {
            s->status |= SR_ERASE_ERROR | SR_PROGRAM_ERROR;
        }
        set_state(s, ST_STATUS);
        break;
    default:
        command(s, off, cmd);
    }
}

static const MemOps flash_ops = {.read = flash_read, .write = flash_write, .impl_max = 4};

/* ---- device ---- */

static void flash_reset(Device *dev)
{
    Pflash *s = (Pflash *)dev;

    s->status = SR_READY;
    s->left = s->buffer_n = 0;
    set_state(s, ST_ARRAY);
}

static bool load_image(Pflash *s, GError **err)
{
    uint64_t len = block_size(s->block);
    int ret;

    if (len > s->size) {
        return fail(err,
                    "-drive if=pflash: '%s' has %" PRIu64 " bytes, the flash bank holds %" PRIu64,
                    block_name(s->block), len, s->size);
    }
    ret = block_pread(s->block, 0, s->rom.host, len);
    s->readonly = block_read_only(s->block);
    s->has_image = true;
    return ret >= 0 || fail(err, "-drive if=pflash: '%s' cannot be read: %s", block_name(s->block),
                            g_strerror(-ret));
}

static void flash_unrealize(Device *dev)
{
    Pflash *s = (Pflash *)dev;

    mem_region_destroy(&s->io);
    mem_region_destroy(&s->rom);
    if (s->block) {
        drive_release(dev->machine, s->drive);
    }
    g_free(s->name);
}

static bool flash_realize(Device *dev, GError **err)
{
    Pflash *s = (Pflash *)dev;

    if (!s->size) {
        return fail(err, "cfi.pflash01: only boards make it");
    }
    if (s->drive && !drive_take(dev->machine, s->drive, DRIVE_DISK, &s->block, err)) {
        return false;
    }
    if (!mem_region_init_rom_device(&s->rom, s->name, &flash_ops, s, s->size, err)) {
        return false;
    }
    mem_region_init_io(&s->io, "flash-registers", &flash_ops, s, s->size);
    memset(s->rom.host, 0xff, s->size);
    s->state = ST_ARRAY;
    s->status = SR_READY;
    if (s->block && !load_image(s, err)) {
        g_clear_pointer(&s->name, g_free);
        mem_region_destroy(&s->io);
        mem_region_destroy(&s->rom);
        block_close(s->block);
        drive_give_back(s->drive);
        return false;
    }
    return true;
}

static bool flash_post_load(void *obj, GError **err)
{
    Pflash *s = obj;

    if (s->state >= ST_STATES || s->buffer_n > BUFFER_WORDS || s->left > BUFFER_WORDS ||
        (s->state == ST_BUFFER && (!s->left || s->buffer_n + s->left > BUFFER_WORDS))) {
        return fail(err, "flash: the saved state is impossible");
    }
    for (unsigned i = 0; i < BUFFER_WORDS; i++) {
        s->buffer_off[i] = s->buffer_off[i] % s->size & ~3u;
    }
    set_state(s, s->state);
    return true;
}

static const StateField flash_fields[] = {
    STATE_U8(Pflash, state),
    STATE_U8(Pflash, status),
    STATE_U32(Pflash, left),
    STATE_U32(Pflash, buffer_n),
    STATE_U32_ARRAY(Pflash, buffer_off),
    STATE_U32_ARRAY(Pflash, buffer),
    STATE_END_FIELD,
};

static const StateTable flash_state = {
    .name = "cfi.pflash01", .version = 1, .fields = flash_fields, .post_load = flash_post_load};

const DeviceType pflash_type = {
    .name = "cfi.pflash01",
    .desc = "NOR flash with Intel's commands",
    .size = sizeof(Pflash),
    .realize = flash_realize,
    .unrealize = flash_unrealize,
    .reset = flash_reset,
    .state = &flash_state,
};

Pflash *pflash_new(Machine *m, MemRegion *parent, const char *name, uint64_t base, uint64_t size,
                   DriveSpec *d, GError **err)
{
    Pflash *s = (Pflash *)device_new(&pflash_type, m);

    s->name = g_strdup(name);
    s->size = size;
    s->drive = d;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(parent, &s->rom, base, 0);
    mem_region_add(parent, &s->io, base, 1);
    mem_region_set_enabled(&s->io, false);
    return s;
}

bool pflash_load(Pflash *s, const void *data, size_t len, GError **err)
{
    if (len > s->size) {
        return fail(err, "-bios: %zu bytes are more than the flash bank of %" PRIu64 " holds", len,
                    s->size);
    }
    memcpy(s->rom.host, data, len);
    mem_set_dirty(&s->rom, 0, len);
    s->has_image = true;
    return true;
}

bool pflash_has_image(const Pflash *s)
{
    return s->has_image;
}
