/*
 * fw_cfg, by ports or memory-mapped. Interface text: "QEMU Firmware Configuration (fw_cfg) Device";
 * users: SeaBIOS src/fw/paravirt.c, Linux drivers/firmware/qemu_fw_cfg.c.
 */
#include "hw/firmware/fw_cfg.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PORT_BASE 0x510
#define DMA_SIGNATURE 0x51454d5520434647ull /* "QEMU CFG" */

enum {
    ID_TRADITIONAL = 1,
    ID_DMA = 2,

    DMA_ERROR = 1,
    DMA_READ = 2,
    DMA_SKIP = 4,
    DMA_SELECT = 8,
    DMA_WRITE = 16,

    KEY_WRITE = 0x4000, /* "write mode", of no meaning today */
    KEY_MASK = 0xffff & ~KEY_WRITE,
    DIR_ENTRY = 64,
};

/* In memory, or a range of an open file: kernels and initrds are not kept twice. */
typedef struct Item {
    GByteArray *data;
    int fd; /* -1: in memory */
    uint64_t file_off;
    uint32_t file_len;
    bool writable;
    void (*written)(void *opaque);
    void *written_opaque;
    void (*destroy)(void *written_opaque);
    void (*refresh)(void *opaque);
    void *refresh_opaque;
} Item;

typedef struct BootPath {
    int index;
    char *path;
} BootPath;

struct FwCfg {
    Device dev;
    MemRegion ports, dma_port;
    MemRegion *mmio_parent; /* NULL: ports */
    uint64_t mmio_base;
    GHashTable *items; /* key → Item */
    GPtrArray *files;  /* names; file i has key FW_CFG_FILE_FIRST + i */
    GArray *boot;      /* of BootPath, in order */
    uint16_t key;
    uint32_t pos;
    uint64_t dma_addr;
    bool strict;
};

static uint32_t item_len(const Item *it)
{
    return !it ? 0 : it->fd >= 0 ? it->file_len : it->data->len;
}

/* @n bytes at @pos, all within the item. What a file has lost since it was opened reads zero. */
static void item_read(const Item *it, uint32_t pos, uint8_t *buf, uint32_t n)
{
    if (it->fd < 0) {
        memcpy(buf, it->data->data + pos, n);
        return;
    }
    while (n) {
        ssize_t got = pread(it->fd, buf, n, (off_t)(it->file_off + pos));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            memset(buf, 0, n);
            return;
        }
        buf += got;
        pos += (uint32_t)got;
        n -= (uint32_t)got;
    }
}

static void item_drop_file(Item *it)
{
    if (it->fd >= 0) {
        close(it->fd);
        it->fd = -1;
    }
}

static void item_free(void *p)
{
    Item *it = p;
    item_drop_file(it);
    if (it->destroy) {
        it->destroy(it->written_opaque);
    }
    g_byte_array_unref(it->data);
    g_free(it);
}

static Item *find(FwCfg *s, uint16_t key)
{
    return g_hash_table_lookup(s->items, GUINT_TO_POINTER(key & KEY_MASK));
}

static Item *find_or_add(FwCfg *s, uint16_t key)
{
    Item *it = find(s, key);
    if (!it) {
        it = g_new0(Item, 1);
        it->fd = -1;
        it->data = g_byte_array_new();
        g_hash_table_insert(s->items, GUINT_TO_POINTER(key & KEY_MASK), it);
    }
    return it;
}

/* ---- contents ---- */

void fw_cfg_set_bytes(FwCfg *s, uint16_t key, const void *data, size_t len)
{
    Item *it = find_or_add(s, key);
    item_drop_file(it);
    g_byte_array_set_size(it->data, 0);
    if (len) {
        g_byte_array_append(it->data, data, (guint)len);
    }
}

void fw_cfg_take_bytes(FwCfg *s, uint16_t key, uint8_t *data, size_t len)
{
    Item *it = find_or_add(s, key);
    item_drop_file(it);
    g_byte_array_unref(it->data);
    it->data = g_byte_array_new_take(data, len);
}

void fw_cfg_take_fd(FwCfg *s, uint16_t key, int fd, uint64_t off, uint32_t len)
{
    Item *it = find_or_add(s, key);
    item_drop_file(it);
    g_byte_array_set_size(it->data, 0);
    it->fd = fd;
    it->file_off = off;
    it->file_len = len;
}

void fw_cfg_set_u16(FwCfg *s, uint16_t key, uint16_t val)
{
    val = GUINT16_TO_LE(val);
    fw_cfg_set_bytes(s, key, &val, sizeof(val));
}

void fw_cfg_set_u32(FwCfg *s, uint16_t key, uint32_t val)
{
    val = GUINT32_TO_LE(val);
    fw_cfg_set_bytes(s, key, &val, sizeof(val));
}

void fw_cfg_set_u64(FwCfg *s, uint16_t key, uint64_t val)
{
    val = GUINT64_TO_LE(val);
    fw_cfg_set_bytes(s, key, &val, sizeof(val));
}

void fw_cfg_set_string(FwCfg *s, uint16_t key, const char *text)
{
    fw_cfg_set_bytes(s, key, text, strlen(text) + 1);
}

/* The directory: a count, then size, key, name of each file; big endian. */
static void rebuild_dir(FwCfg *s)
{
    g_autoptr(GByteArray) dir = g_byte_array_new();
    uint32_t n = GUINT32_TO_BE(s->files->len);

    g_byte_array_append(dir, (uint8_t *)&n, 4);
    for (unsigned i = 0; i < s->files->len; i++) {
        uint8_t e[DIR_ENTRY] = {0};
        uint16_t key = (uint16_t)(FW_CFG_FILE_FIRST + i);
        uint32_t size = GUINT32_TO_BE(item_len(find(s, key)));
        uint16_t be_key = GUINT16_TO_BE(key);
        memcpy(e, &size, 4);
        memcpy(e + 4, &be_key, 2);
        g_strlcpy((char *)e + 8, s->files->pdata[i], FW_CFG_NAME_MAX + 1);
        g_byte_array_append(dir, e, sizeof(e));
    }
    fw_cfg_set_bytes(s, FW_CFG_FILE_DIR, dir->data, dir->len);
}

static int file_index(FwCfg *s, const char *name)
{
    for (unsigned i = 0; i < s->files->len; i++) {
        if (strcmp(s->files->pdata[i], name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool fw_cfg_set_file(FwCfg *s, const char *name, const void *data, size_t len, GError **err)
{
    int i = file_index(s, name);

    if (strlen(name) > FW_CFG_NAME_MAX || !*name) {
        return fail(err, "fw_cfg name '%s' must have 1 to %d characters", name, FW_CFG_NAME_MAX);
    }
    if (len > UINT32_MAX / 2) {
        return fail(err, "fw_cfg file '%s' is larger than 2 GiB", name);
    }
    if (i < 0) {
        if (s->files->len >= FW_CFG_FILE_SLOTS) {
            return fail(err, "no room for fw_cfg file '%s': there are %d already", name,
                        FW_CFG_FILE_SLOTS);
        }
        i = (int)s->files->len;
        g_ptr_array_add(s->files, g_strdup(name));
    }
    fw_cfg_set_bytes(s, (uint16_t)(FW_CFG_FILE_FIRST + i), data, len);
    rebuild_dir(s);
    return true;
}

bool fw_cfg_set_file_rw(FwCfg *s, const char *name, const void *data, size_t len,
                        void (*written)(void *opaque), void *opaque, void (*destroy)(void *opaque),
                        GError **err)
{
    if (!fw_cfg_set_file(s, name, data, len, err)) {
        if (destroy) {
            destroy(opaque);
        }
        return false;
    }
    Item *it = find(s, fw_cfg_file_key(s, name));
    it->writable = true;
    it->written = written;
    it->written_opaque = opaque;
    it->destroy = destroy;
    return true;
}

uint16_t fw_cfg_file_key(FwCfg *s, const char *name)
{
    int i = file_index(s, name);
    return i < 0 ? 0 : (uint16_t)(FW_CFG_FILE_FIRST + i);
}

void fw_cfg_set_refresh(FwCfg *s, const char *name, void (*refresh)(void *opaque), void *opaque)
{
    int i = file_index(s, name);
    if (i >= 0) {
        Item *it = find(s, (uint16_t)(FW_CFG_FILE_FIRST + i));
        it->refresh = refresh;
        it->refresh_opaque = opaque;
    }
}

const uint8_t *fw_cfg_get_bytes(FwCfg *s, uint16_t key, size_t *len)
{
    Item *it = find(s, key);

    if (it && it->fd >= 0) {
        uint8_t *copy = g_malloc(it->file_len + 1);
        item_read(it, 0, copy, it->file_len);
        fw_cfg_take_bytes(s, key, copy, it->file_len);
    }
    *len = item_len(it);
    return it ? it->data->data : NULL;
}

const uint8_t *fw_cfg_get_file(FwCfg *s, const char *name, size_t *len)
{
    int i = file_index(s, name);
    *len = 0;
    return i < 0 ? NULL : fw_cfg_get_bytes(s, (uint16_t)(FW_CFG_FILE_FIRST + i), len);
}

static void write_boot_order(FwCfg *s)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < s->boot->len; i++) {
        g_string_append_printf(text, "%s%s", i ? "\n" : "",
                               g_array_index(s->boot, BootPath, i).path);
    }
    if (s->boot->len) {
        g_string_append(text, s->strict ? "\nHALT" : "");
        fw_cfg_set_file(s, "bootorder", text->str, text->len + 1, NULL);
    }
}

void fw_cfg_add_boot_path(FwCfg *s, int index, const char *path)
{
    BootPath bp = {.index = index, .path = g_strdup(path)};
    unsigned at = 0;

    while (at < s->boot->len && g_array_index(s->boot, BootPath, at).index <= index) {
        at++;
    }
    g_array_insert_val(s->boot, at, bp);
    write_boot_order(s);
}

void fw_cfg_set_boot_strict(FwCfg *s)
{
    s->strict = true;
    write_boot_order(s);
}

/* ---- the guest's side ---- */

static void select_key(FwCfg *s, uint16_t key)
{
    Item *it = find(s, key);

    s->key = key;
    s->pos = 0;
    if (it && it->refresh) {
        it->refresh(it->refresh_opaque);
    }
    trace("fw_cfg_select", "key %04x, %u bytes", key, item_len(it));
}

/* DMA goes to and from RAM only: anything else is an error, and a transfer that runs on through
 * device registers could take minutes. @it NULL: zeros. */
static bool dma_to_guest(FwCfg *s, uint64_t addr, const Item *it, uint32_t pos, uint64_t len)
{
    uint8_t chunk[16384] = {0};
    MemSpace *mem = s->dev.machine->memory;

    while (len) {
        uint64_t n = MIN(len, sizeof(chunk));
        if (!mem_host_ptr(mem, addr, &n, true) || n == 0) {
            return false;
        }
        if (it) {
            item_read(it, pos, chunk, (uint32_t)n);
            pos += (uint32_t)n;
        }
        mem_write(mem, addr, chunk, n);
        addr += n;
        len -= n;
    }
    return true;
}

static bool dma_from_guest(FwCfg *s, uint64_t addr, uint8_t *data, uint64_t len)
{
    MemSpace *mem = s->dev.machine->memory;

    while (len) {
        uint64_t n = len;
        if (!mem_host_ptr(mem, addr, &n, false) || n == 0) {
            return false;
        }
        mem_read(mem, addr, data, n);
        data += n;
        addr += n;
        len -= n;
    }
    return true;
}

static bool dma_run(FwCfg *s, uint32_t control, uint32_t len, uint64_t addr)
{
    if (control & DMA_SELECT) {
        select_key(s, (uint16_t)(control >> 16));
    }
    Item *it = find(s, s->key);
    uint32_t size = item_len(it);
    uint32_t pos = MIN(s->pos, size);
    uint32_t have = MIN(len, size - pos);
    bool ok = true;

    if (control & DMA_READ) {
        /* Beyond the end reads zeros. */
        ok = dma_to_guest(s, addr, it, pos, have) &&
             dma_to_guest(s, addr + have, NULL, 0, len - have);
    } else if (control & DMA_WRITE) {
        ok =
            it && it->writable && have == len && dma_from_guest(s, addr, it->data->data + pos, len);
        if (ok && it->written) {
            it->written(it->written_opaque);
        }
    }
    if (control & (DMA_READ | DMA_WRITE | DMA_SKIP)) {
        s->pos = len > UINT32_MAX - s->pos ? UINT32_MAX : s->pos + len;
    }
    return ok;
}

static void dma_start(FwCfg *s)
{
    MemSpace *mem = s->dev.machine->memory;
    uint64_t at = s->dma_addr;
    uint32_t control = 0, len = 0;
    uint64_t addr = 0;
    struct {
        uint32_t control, len;
        uint64_t addr;
    } req;

    s->dma_addr = 0;
    bool ok = dma_from_guest(s, at, (uint8_t *)&req, sizeof(req));
    if (ok) {
        control = GUINT32_FROM_BE(req.control);
        len = GUINT32_FROM_BE(req.len);
        addr = GUINT64_FROM_BE(req.addr);
        ok = dma_run(s, control, len, addr);
    }
    if (!ok) {
        guest_error("fw_cfg: DMA %08x of %u bytes at %llx failed", control, len,
                    (unsigned long long)addr);
    }
    uint32_t status = GUINT32_TO_BE(ok ? 0 : DMA_ERROR);
    mem_write(mem, at, &status, sizeof(status));
}

static uint64_t ports_read(void *opaque, uint64_t off, unsigned size)
{
    FwCfg *s = opaque;
    uint8_t byte;

    if (off != 1) {
        return 0xffff;
    }
    Item *it = find(s, s->key);
    if (s->pos >= item_len(it)) {
        return 0;
    }
    item_read(it, s->pos++, &byte, 1);
    return byte;
}

static void ports_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    if (off == 0 && size == 2) {
        select_key(opaque, (uint16_t)val);
    }
}

static uint64_t dma_port_read(void *opaque, uint64_t off, unsigned size)
{
    uint64_t val = 0;
    for (unsigned i = 0; i < size; i++) {
        uint64_t byte = (DMA_SIGNATURE >> (56 - 8 * ((off + i) & 7))) & 0xff;
        val |= byte << (8 * i);
    }
    return val;
}

static void dma_port_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    FwCfg *s = opaque;
    uint32_t part = GUINT32_SWAP_LE_BE((uint32_t)val);

    if (size == 8 && off == 0) {
        s->dma_addr = GUINT64_SWAP_LE_BE(val);
        dma_start(s);
        return;
    }
    if (size != 4) {
        return;
    }
    if (off == 0) {
        s->dma_addr = (uint64_t)part << 32;
    } else if (off == 4) {
        s->dma_addr = (s->dma_addr & 0xffffffff00000000ull) | part;
        dma_start(s);
    }
}

/* Data register: as many bytes of the item as the access is wide, first byte lowest. */
static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
    uint64_t val = 0;

    if (off >= 8) {
        return 0;
    }
    for (unsigned i = 0; i < size; i++) {
        val |= (ports_read(opaque, 1, 1) & 0xff) << 8 * i;
    }
    return val;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    if (off == 8 && size == 2) {
        select_key(opaque, GUINT16_SWAP_LE_BE((uint16_t)val));
    }
}

static const MemOps mmio_ops = {.read = mmio_read, .write = mmio_write, .impl_max = 8};
static const MemOps mmio_dma_ops = {.read = dma_port_read, .write = dma_port_write, .impl_max = 8};
static const MemOps ports_ops = {.read = ports_read, .write = ports_write, .impl_max = 2};
static const MemOps dma_ops = {.read = dma_port_read, .write = dma_port_write, .impl_max = 4};

/* ---- device ---- */

static bool fw_cfg_realize(Device *dev, GError **err)
{
    FwCfg *s = (FwCfg *)dev;
    Machine *m = dev->machine;

    s->items = g_hash_table_new_full(NULL, NULL, NULL, item_free);
    s->files = g_ptr_array_new_with_free_func(g_free);
    s->boot = g_array_new(FALSE, FALSE, sizeof(BootPath));
    fw_cfg_set_bytes(s, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_set_u32(s, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
    rebuild_dir(s);
    if (s->mmio_parent) {
        mem_region_init_io(&s->ports, "fw-cfg", &mmio_ops, s, 16);
        mem_region_add(s->mmio_parent, &s->ports, s->mmio_base, 0);
        mem_region_init_io(&s->dma_port, "fw-cfg-dma", &mmio_dma_ops, s, 8);
        mem_region_add(s->mmio_parent, &s->dma_port, s->mmio_base + 16, 0);
        return true;
    }
    mem_region_init_io(&s->ports, "fw-cfg", &ports_ops, s, 2);
    mem_region_add(&m->io_root, &s->ports, PORT_BASE, 0);
    mem_region_init_io(&s->dma_port, "fw-cfg-dma", &dma_ops, s, 8);
    mem_region_add(&m->io_root, &s->dma_port, PORT_BASE + 4, 0);
    return true;
}

static void fw_cfg_unrealize(Device *dev)
{
    FwCfg *s = (FwCfg *)dev;

    mem_region_destroy(&s->dma_port);
    mem_region_destroy(&s->ports);
    for (unsigned i = 0; i < s->boot->len; i++) {
        g_free(g_array_index(s->boot, BootPath, i).path);
    }
    g_array_unref(s->boot);
    g_ptr_array_unref(s->files);
    g_hash_table_unref(s->items);
}

static void fw_cfg_reset(Device *dev)
{
    FwCfg *s = (FwCfg *)dev;
    s->key = 0;
    s->pos = 0;
    s->dma_addr = 0;
}

static const StateField fw_cfg_fields[] = {
    STATE_U16(FwCfg, key),
    STATE_U32(FwCfg, pos),
    STATE_U64(FwCfg, dma_addr),
    STATE_END_FIELD,
};

static const StateTable fw_cfg_state = {.name = "fw_cfg", .version = 1, .fields = fw_cfg_fields};

const DeviceType fw_cfg_type = {
    .name = "fw_cfg_io",
    .desc = "firmware configuration ports",
    .size = sizeof(FwCfg),
    .realize = fw_cfg_realize,
    .unrealize = fw_cfg_unrealize,
    .reset = fw_cfg_reset,
    .state = &fw_cfg_state,
};

FwCfg *fw_cfg_new(Machine *m, GError **err)
{
    FwCfg *s = (FwCfg *)device_new(&fw_cfg_type, m);

    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    return s;
}

FwCfg *fw_cfg_new_mmio(Machine *m, MemRegion *parent, uint64_t base, GError **err)
{
    FwCfg *s = (FwCfg *)device_new(&fw_cfg_type, m);

    s->mmio_parent = parent;
    s->mmio_base = base;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    return s;
}

FwCfg *fw_cfg_find(Machine *m)
{
    for (guint i = 0; i < m->devices->len; i++) {
        Device *dev = m->devices->pdata[i];
        if (dev->type == &fw_cfg_type) {
            return (FwCfg *)dev;
        }
    }
    return NULL;
}
