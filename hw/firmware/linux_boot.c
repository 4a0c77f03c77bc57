/*
 * Linux kernels: Documentation/arch/x86/boot.rst ("The Linux/x86 Boot Protocol"), 2.00 to 2.15.
 */
#include "hw/firmware/linux_boot.h"
#include "core/log.h"
#include "hw/firmware/rom.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Offsets in the setup header. */
enum {
    H_SETUP_SECTS = 0x1f1,
    H_VID_MODE = 0x1fa,
    H_BOOT_FLAG = 0x1fe,
    H_MAGIC = 0x202,
    H_VERSION = 0x206,
    H_TYPE_OF_LOADER = 0x210,
    H_LOADFLAGS = 0x211,
    H_RAMDISK_IMAGE = 0x218,
    H_RAMDISK_SIZE = 0x21c,
    H_HEAP_END_PTR = 0x224,
    H_CMD_LINE_PTR = 0x228,
    H_INITRD_ADDR_MAX = 0x22c,
    H_CMDLINE_SIZE = 0x238,
    H_PREF_ADDRESS = 0x258,
    H_INIT_SIZE = 0x260,
    H_END = 0x264,

    OLD_CMD_MAGIC = 0x20, /* before 2.02: in the boot sector */
    OLD_CMD_OFFSET = 0x22,

    LOADED_HIGH = 0x01,
    CAN_USE_HEAP = 0x80,
    LOADER_UNREGISTERED = 0xff,
};

#define HIGH_KERNEL 0x100000u
#define MIB (1u << 20)

typedef struct Placement {
    uint32_t setup, kernel, cmdline;
    uint32_t heap_end; /* offset in the setup segment; the command line follows */
} Placement;

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v);
    put16(p + 2, v >> 16);
}

bool linux_boot_probe(const KernelFile *k)
{
    return k->len > H_END && get16(k->data + H_BOOT_FLAG) == 0xaa55 &&
           memcmp(k->data + H_MAGIC, "HdrS", 4) == 0;
}

/* "Memory layout" and the sample boot configuration of the protocol. */
static Placement place(uint16_t version, uint8_t loadflags)
{
    bool high = loadflags & LOADED_HIGH;

    if (version >= 0x202 && high) {
        return (Placement){0x10000, HIGH_KERNEL, 0x1e000, 0xe000};
    }
    return (Placement){0x90000, high ? HIGH_KERNEL : 0x10000, 0x99800, 0x9800};
}

/* Value of the last "NAME=" word of the command line, or NULL. */
static const char *find_word(const char *cmdline, const char *name)
{
    const char *found = NULL;
    size_t n = strlen(name);

    for (const char *p = cmdline; *p;) {
        if (g_str_has_prefix(p, name)) {
            found = p + n;
        }
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    return found;
}

/* vga=MODE is for the loader (boot.rst, "Special Command Line Options"). */
static void apply_vga(uint8_t *setup, const char *cmdline)
{
    const char *v = find_word(cmdline, "vga=");
    unsigned long mode;
    char *end;

    if (!v) {
        return;
    }
    size_t n = strcspn(v, " ");
    if (n == 6 && !strncmp(v, "normal", n)) {
        mode = 0xffff;
    } else if (n == 3 && !strncmp(v, "ext", n)) {
        mode = 0xfffe;
    } else if (n == 3 && !strncmp(v, "ask", n)) {
        mode = 0xfffd;
    } else {
        mode = strtoul(v, &end, 0);
        if (end != v + n || mode > 0xffff) {
            warn_report("vga=%.*s is no video mode; normal, ext, ask and numbers are", (int)n, v);
            return;
        }
    }
    put16(setup + H_VID_MODE, (uint32_t)mode);
}

/* mem=SIZE lowers the end of memory for the initrd. */
static uint64_t apply_mem(const char *cmdline, uint64_t top)
{
    const char *v = find_word(cmdline, "mem=");
    char *end;

    if (!v) {
        return top;
    }
    uint64_t size = g_ascii_strtoull(v, &end, 0);
    switch (*end) {
    case 'G':
    case 'g':
        size <<= 10;
        /* fall through */
    case 'M':
    case 'm':
        size <<= 10;
        /* fall through */
    case 'K':
    case 'k':
        size <<= 10;
    }
    return size && size < top ? size : top;
}

/* First address the unpacked kernel does not need. */
static uint64_t kernel_end(const uint8_t *setup, uint16_t version, uint32_t at, size_t len)
{
    uint64_t end = at + (uint64_t)len;

    if (version >= 0x20a && at >= HIGH_KERNEL) {
        uint64_t start = MAX(get64(setup + H_PREF_ADDRESS), at);
        uint64_t need = get32(setup + H_INIT_SIZE);
        if (start < 1ull << 32) {
            end = MAX(end, start + need);
        }
    }
    return end;
}

static bool load_initrd(FwCfg *fw, const KernelFile *k, uint8_t *setup, uint64_t low, uint64_t top,
                        GError **err)
{
    size_t len = 0;
    uint8_t *data = NULL;
    uint16_t version = get16(setup + H_VERSION);
    uint64_t max = version >= 0x203 ? get32(setup + H_INITRD_ADDR_MAX) : 0x37ffffff;

    int fd = firmware_open_file("initrd", k->initrd, &data, &len, err);
    if (fd < 0 && !data) {
        return false;
    }
    top = MIN(top, max + 1);
    uint64_t addr = len < top ? (top - len) & ~0xfffull : 0;
    if (addr < low) {
        g_free(data);
        if (fd >= 0) {
            close(fd);
        }
        return fail(err,
                    "kernel '%s' with initrd '%s' of %zu KiB needs at least %" G_GUINT64_FORMAT
                    " MiB of memory",
                    k->name, k->initrd, len >> 10, ((low + len) >> 20) + 3);
    }
    put32(setup + H_RAMDISK_IMAGE, (uint32_t)addr);
    put32(setup + H_RAMDISK_SIZE, (uint32_t)len);
    fw_cfg_set_u32(fw, FW_CFG_INITRD_ADDR, (uint32_t)addr);
    fw_cfg_set_u32(fw, FW_CFG_INITRD_SIZE, (uint32_t)len);
    if (fd >= 0) {
        fw_cfg_take_fd(fw, FW_CFG_INITRD_DATA, fd, 0, (uint32_t)len);
    } else {
        fw_cfg_take_bytes(fw, FW_CFG_INITRD_DATA, data, len);
    }
    return true;
}

static bool check_size(const KernelFile *k, size_t setup_len, const Placement *p, GError **err)
{
    if (setup_len >= k->len) {
        return fail(err, "kernel '%s' is cut off: its setup part alone has %zu bytes, the file %zu",
                    k->name, setup_len, k->len);
    }
    if (setup_len > p->heap_end - 0x800u) {
        return fail(err, "kernel '%s' has a setup part of %zu bytes; %u are possible", k->name,
                    setup_len, p->heap_end - 0x800u);
    }
    if (p->kernel != HIGH_KERNEL && k->len - setup_len > 0x80000) {
        return fail(err, "kernel '%s' is a zImage of %zu bytes; 512 KiB are possible", k->name,
                    k->len - setup_len);
    }
    return true;
}

bool linux_boot_setup(FwCfg *fw, const KernelFile *k, const PcMemoryLayout *layout, GError **err)
{
    const char *cmdline = k->append ? k->append : "";
    uint16_t version = get16(k->data + H_VERSION);
    Placement p = place(version, k->data[H_LOADFLAGS]);
    unsigned sects = k->data[H_SETUP_SECTS] ? k->data[H_SETUP_SECTS] : 4;
    size_t setup_len = (sects + 1) * 512u;
    size_t cmd_len = strlen(cmdline) + 1;
    size_t cmd_max = version >= 0x206 ? get32(k->data + H_CMDLINE_SIZE) : 255;

    if (!check_size(k, setup_len, &p, err)) {
        return false;
    }
    cmd_max = MIN(cmd_max, p.setup == 0x10000 ? 0xffff : 0x1000);
    if (cmd_len - 1 > cmd_max) {
        return fail(err, "the command line has %zu bytes; kernel '%s' takes %zu", cmd_len - 1,
                    k->name, cmd_max);
    }
    size_t kernel_len = k->len - setup_len;
    /* The BIOS keeps tables at the end of RAM. */
    uint64_t top = layout->below_4g - MIN(MIB, layout->below_4g / 16);
    uint64_t end = kernel_end(k->data, version, p.kernel, kernel_len);
    if (end > layout->below_4g) {
        return fail(err, "kernel '%s' needs at least %" G_GUINT64_FORMAT " MiB of memory", k->name,
                    (end >> 20) + 2);
    }

    g_autofree uint8_t *setup = g_memdup2(k->data, setup_len);
    apply_vga(setup, cmdline);
    setup[H_TYPE_OF_LOADER] = LOADER_UNREGISTERED;
    if (version >= 0x201) {
        setup[H_LOADFLAGS] |= CAN_USE_HEAP;
        put16(setup + H_HEAP_END_PTR, p.heap_end - 0x200);
    }
    if (version >= 0x202) {
        put32(setup + H_CMD_LINE_PTR, p.cmdline);
    } else {
        put16(setup + OLD_CMD_MAGIC, 0xa33f);
        put16(setup + OLD_CMD_OFFSET, p.cmdline - p.setup);
    }
    put32(setup + H_RAMDISK_IMAGE, 0);
    put32(setup + H_RAMDISK_SIZE, 0);
    fw_cfg_set_u32(fw, FW_CFG_INITRD_ADDR, 0);
    fw_cfg_set_u32(fw, FW_CFG_INITRD_SIZE, 0);
    if (k->initrd && !load_initrd(fw, k, setup, end, apply_mem(cmdline, top), err)) {
        return false;
    }

    fw_cfg_set_u32(fw, FW_CFG_SETUP_ADDR, p.setup);
    fw_cfg_set_u32(fw, FW_CFG_SETUP_SIZE, (uint32_t)setup_len);
    fw_cfg_take_bytes(fw, FW_CFG_SETUP_DATA, g_steal_pointer(&setup), setup_len);
    fw_cfg_set_u32(fw, FW_CFG_KERNEL_ADDR, p.kernel);
    fw_cfg_set_u32(fw, FW_CFG_KERNEL_SIZE, (uint32_t)kernel_len);
    int fd = k->fd > 0 ? fcntl(k->fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (fd >= 0) {
        fw_cfg_take_fd(fw, FW_CFG_KERNEL_DATA, fd, setup_len, (uint32_t)kernel_len);
    } else {
        fw_cfg_set_bytes(fw, FW_CFG_KERNEL_DATA, k->data + setup_len, kernel_len);
    }
    fw_cfg_set_u32(fw, FW_CFG_CMDLINE_ADDR, p.cmdline);
    fw_cfg_set_u32(fw, FW_CFG_CMDLINE_SIZE, (uint32_t)cmd_len);
    fw_cfg_set_string(fw, FW_CFG_CMDLINE_DATA, cmdline);
    return true;
}
