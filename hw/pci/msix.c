/* MSI-X: PCI Local Bus Specification 3.0, section 6.8.2; see msix.h. */
#include "hw/pci/msix.h"
#include "core/log.h"
#include <string.h>

enum { CAP_CONTROL = 2, CAP_TABLE = 4, CAP_PBA = 8, CAP_SIZE = 12 };
enum { CONTROL_MASK = 1 << 14, CONTROL_ENABLE = 1 << 15 };
enum { ENTRY_ADDR, ENTRY_UPPER, ENTRY_DATA, ENTRY_CONTROL };

static uint16_t control(const PciMsix *x)
{
    return pci_get16(x->d->config + x->cap + CAP_CONTROL);
}

bool pci_msix_enabled(const PciMsix *x)
{
    return x->vectors && (control(x) & CONTROL_ENABLE);
}

static void send(PciMsix *x, unsigned n)
{
    const uint32_t *e = x->table + 4 * n;

    x->pending[n / 32] &= ~(1u << n % 32);
    pci_send_msi(x->d, e[ENTRY_ADDR] | (uint64_t)e[ENTRY_UPPER] << 32, e[ENTRY_DATA]);
}

static bool masked(const PciMsix *x, unsigned n)
{
    return (control(x) & CONTROL_MASK) || (x->table[4 * n + ENTRY_CONTROL] & 1);
}

void pci_msix_notify(PciMsix *x, unsigned n)
{
    if (n >= x->vectors || !pci_msix_enabled(x)) {
        return;
    }
    if (masked(x, n)) {
        x->pending[n / 32] |= 1u << n % 32;
    } else {
        send(x, n);
    }
}

/* Masks may have gone. */
static void send_pending(PciMsix *x)
{
    for (unsigned n = 0; n < x->vectors && pci_msix_enabled(x); n++) {
        if ((x->pending[n / 32] >> n % 32 & 1) && !masked(x, n)) {
            send(x, n);
        }
    }
}

void pci_msix_written(PciMsix *x, unsigned off, unsigned size)
{
    if (x->vectors && off < x->cap + CAP_CONTROL + 2u && off + size > x->cap + CAP_CONTROL) {
        send_pending(x);
    }
}

static uint64_t table_read(void *opaque, uint64_t off, unsigned size)
{
    PciMsix *x = opaque;

    if (off >= PCI_MSIX_PBA) {
        off = (off - PCI_MSIX_PBA) / 4;
        return off < G_N_ELEMENTS(x->pending) ? x->pending[off] : 0;
    }
    return off < 16u * x->vectors ? x->table[off / 4] : 0;
}

static void table_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    PciMsix *x = opaque;
    unsigned i = (unsigned)off / 4;

    if (off >= 16u * x->vectors) {
        return; /* pending bits are read only */
    }
    static const uint32_t mask[4] = {~3u, UINT32_MAX, UINT32_MAX, 1};
    x->table[i] = (uint32_t)val & mask[i % 4];
    if (i % 4 == ENTRY_CONTROL) {
        send_pending(x);
    }
}

static const MemOps table_ops = {
    .read = table_read, .write = table_write, .impl_min = 4, .impl_max = 4, .valid_min = 4};

bool pci_msix_init(PciMsix *x, PciDevice *d, unsigned vectors, unsigned bar)
{
    unsigned cap = pci_add_capability(d, PCI_CAP_ID_MSIX, 0, CAP_SIZE);

    g_assert(vectors && vectors <= PCI_MSIX_MAX);
    if (!cap) {
        return false;
    }
    x->d = d;
    x->vectors = (uint16_t)vectors;
    x->cap = (uint8_t)cap;
    pci_set16(d->config + cap + CAP_CONTROL, (uint16_t)(vectors - 1));
    pci_set16(d->wmask + cap + CAP_CONTROL, CONTROL_MASK | CONTROL_ENABLE);
    pci_set32(d->config + cap + CAP_TABLE, bar);
    pci_set32(d->config + cap + CAP_PBA, PCI_MSIX_PBA | bar);
    mem_region_init_io(&x->region, "msix", &table_ops, x, PCI_MSIX_BAR_SIZE);
    pci_add_bar(d, bar, 0, &x->region);
    return true;
}

void pci_msix_fini(PciMsix *x)
{
    if (x->vectors) {
        mem_region_destroy(&x->region);
        x->vectors = 0;
    }
}

void pci_msix_reset(PciMsix *x)
{
    memset(x->table, 0, sizeof(x->table));
    memset(x->pending, 0, sizeof(x->pending));
    for (unsigned n = 0; n < x->vectors; n++) {
        x->table[4 * n + ENTRY_CONTROL] = 1;
    }
}

static const StateField fields[] = {
    STATE_U32_ARRAY(PciMsix, table),
    STATE_U32_ARRAY(PciMsix, pending),
    STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    PciMsix *x = obj;

    if (x->vectors) {
        /* What the guest cannot write is ours. */
        pci_set16(x->d->config + x->cap + CAP_CONTROL,
                  (control(x) & (CONTROL_MASK | CONTROL_ENABLE)) | (x->vectors - 1));
    }
    for (unsigned n = x->vectors; n < PCI_MSIX_MAX; n++) {
        x->pending[n / 32] &= ~(1u << n % 32);
    }
    return true;
}

const StateTable pci_msix_state = {
    .name = "msix", .version = 1, .fields = fields, .post_load = post_load};
