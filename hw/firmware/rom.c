/* Firmware files and where they are mapped. */
#include "hw/firmware/rom.h"
#include "config.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIOS_MAX (8u << 20)
#define LOW_MAX (128u << 10)
#define OPTION_ROM_MAX (16u << 20)

static const char *const system_dirs[] = {
    RHEA_PREFIX "/share/rhea",
    "/usr/share/rhea",
    "/usr/share/seabios",
    "/usr/share/qemu",
    "/usr/share/vgabios",
    "/usr/lib/ipxe/qemu",
    "/usr/share/ipxe/qemu",
    "/usr/share/ovmf",
    "/usr/lib/riscv64-linux-gnu/opensbi/generic",
    "/usr/share/opensbi/lp64/generic/firmware",
};

static char *in_dir(const char *dir, const char *name)
{
    char *path = g_build_filename(dir, name, NULL);
    if (g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        return path;
    }
    g_free(path);
    return NULL;
}

char *firmware_find(const Machine *m, const char *name)
{
    char *path;

    if (g_file_test(name, G_FILE_TEST_IS_REGULAR)) {
        return g_strdup(name);
    }
    if (g_path_is_absolute(name)) {
        return NULL;
    }
    if (m->cfg.firmware_dir && (path = in_dir(m->cfg.firmware_dir, name))) {
        return path;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(system_dirs); i++) {
        if ((path = in_dir(system_dirs[i], name))) {
            return path;
        }
    }
    return NULL;
}

bool firmware_read_file(const char *what, const char *path, uint8_t **data, size_t *len,
                        GError **err)
{
    gchar *text = NULL;
    gsize n = 0;

    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        return fail(err, "%s '%s' is a directory", what, path);
    }
    errno = 0;
    if (access(path, R_OK) || !g_file_get_contents(path, &text, &n, NULL)) {
        return fail(err, "%s '%s': %s", what, path, errno ? g_strerror(errno) : "cannot be read");
    }
    *data = (uint8_t *)text;
    *len = n;
    return true;
}

int firmware_open_file(const char *what, const char *path, uint8_t **data, size_t *len,
                       GError **err)
{
    struct stat st;
    int low = open(path, O_RDONLY | O_CLOEXEC);

    *data = NULL;
    if (low < 0) {
        fail(err, "%s '%s': %s", what, path, g_strerror(errno));
        return -1;
    }
    int fd = fcntl(low, F_DUPFD_CLOEXEC, 3);
    close(low);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fail(err, "%s '%s': %s", what, path, g_strerror(errno));
    } else if (S_ISREG(st.st_mode) && st.st_size > UINT32_MAX) {
        fail(err, "%s '%s' is larger than 4 GiB", what, path);
    } else if (S_ISREG(st.st_mode)) {
        *len = (size_t)st.st_size;
        return fd;
    } else {
        /* Reads a pipe under its own name, e.g. /dev/fd/N. */
        firmware_read_file(what, path, data, len, err);
    }
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

uint8_t *firmware_load(const Machine *m, const char *name, size_t max, size_t *len, GError **err)
{
    g_autofree char *path = firmware_find(m, name);
    uint8_t *data = NULL;

    if (!path) {
        fail(err, "firmware file '%s' not found; give its directory with -L", name);
        return NULL;
    }
    if (!firmware_read_file("firmware file", path, &data, len, err)) {
        return NULL;
    }
    if (*len > max || *len == 0) {
        fail(err, "firmware file '%s' has %zu bytes; 1 to %zu are possible", path, *len, max);
        g_free(data);
        return NULL;
    }
    return data;
}

bool pc_bios_load(PcBios *b, Machine *m, MemRegion *pci_mem, const char *name, GError **err)
{
    size_t len;
    g_autofree uint8_t *data = firmware_load(m, name ? name : "bios-256k.bin", BIOS_MAX, &len, err);

    if (!data) {
        return false;
    }
    if (len % 65536) {
        return fail(err, "BIOS '%s' has %zu bytes; a multiple of 64 KiB is needed", name, len);
    }
    if (!mem_region_init_rom(&b->rom, "bios", len, err)) {
        return false;
    }
    memcpy(b->rom.host, data, len);
    size_t low = MIN(len, LOW_MAX);
    mem_region_init_alias(&b->low, "bios-low", &b->rom, len - low, low);
    mem_transaction_begin();
    /* Above base addresses of PCI functions, which a guest may put anywhere. */
    mem_region_add(pci_mem, &b->rom, 0x100000000ull - len, 2);
    mem_region_add(pci_mem, &b->low, 0x100000 - low, 2);
    mem_transaction_commit();
    return true;
}

void pc_bios_free(PcBios *b)
{
    if (b->rom.host) {
        mem_region_destroy(&b->low);
        mem_region_destroy(&b->rom);
    }
}

bool firmware_add_option_rom(PciDevice *d, const char *default_name, GError **err)
{
    const char *name = d->romfile ? d->romfile : default_name;
    size_t len;

    if (d->rombar == 0 || !name || !*name) {
        return true;
    }
    if (!d->romfile) {
        g_autofree char *path = firmware_find(d->dev.machine, name);
        if (!path) {
            warn_report("expansion ROM '%s' of %s not found; going on without", name,
                        d->dev.type->name);
            return true;
        }
    }
    g_autofree uint8_t *data = firmware_load(d->dev.machine, name, OPTION_ROM_MAX, &len, err);
    return data && pci_add_rom(d, data, len, err);
}
