/*
 * MSI-X of a PCI function: PCI Local Bus Specification 3.0, section 6.8.2. A PciMsix is a member of
 * the function's struct; its table and pending bits are a BAR of their own. The function calls
 * pci_msix_written() from PciInfo.config_written, pci_msix_reset() from its reset after
 * pci_device_reset(), and has PCI_MSIX_STATE behind PCI_STATE in its table. Machine lock.
 */
#ifndef RHEA_HW_PCI_MSIX_H
#define RHEA_HW_PCI_MSIX_H

#include "hw/pci/pci.h"

#define PCI_MSIX_MAX 128
#define PCI_MSIX_BAR_SIZE 4096
#define PCI_MSIX_PBA 2048 /* offset of the pending bits in the BAR */

typedef struct PciMsix {
    PciDevice *d;
    MemRegion region;
    uint16_t vectors; /* 0: the function has no MSI-X */
    uint8_t cap;
    uint32_t table[PCI_MSIX_MAX * 4]; /* address, upper address, data, control */
    uint32_t pending[PCI_MSIX_MAX / 32];
} PciMsix;

/* In realize, @vectors 1 to PCI_MSIX_MAX. False: no room for the capability. */
bool pci_msix_init(PciMsix *x, PciDevice *d, unsigned vectors, unsigned bar);
/* In unrealize, after pci_device_fini(); also when there was no init. */
void pci_msix_fini(PciMsix *x);
void pci_msix_reset(PciMsix *x);
void pci_msix_written(PciMsix *x, unsigned off, unsigned size);
/* By the guest; the function must not use INTx then. */
bool pci_msix_enabled(const PciMsix *x);
/* Send vector @n, or remember it while it is masked. Vectors that are not there are ignored. */
void pci_msix_notify(PciMsix *x, unsigned n);

extern const StateTable pci_msix_state;
#define PCI_MSIX_STATE(S, f) STATE_STRUCT_ARRAY(S, f, PciMsix, &pci_msix_state)

#endif
