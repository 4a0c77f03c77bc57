/*
 * The virtio PCI transport (VIRTIO 1.2, section 4.1), with its legacy interface (4.1.4.10). A
 * device on it is a struct that begins with VirtioPci; see hw/virtio/virtio_types.h.
 */
#ifndef RHEA_HW_VIRTIO_VIRTIO_PCI_H
#define RHEA_HW_VIRTIO_VIRTIO_PCI_H

#include "hw/pci/msix.h"
#include "hw/virtio/virtio.h"

typedef struct VirtioPci {
    PciDevice pci;
    PciInfo info;
    PciMsix msix;
    VirtioDevice *v;
    MemRegion legacy, modern;
    int32_t disable_legacy; /* off, on, auto */
    bool disable_modern;
    uint32_t vectors; /* UINT32_MAX: one a queue and one for changes */
    uint8_t cfg_cap;  /* offset of the capability that is a window to the BARs; 0: none */
} VirtioPci;

/* What DeviceType.realize, unrealize and reset do, with @v inside the same struct. */
bool virtio_pci_realize(VirtioPci *p, VirtioDevice *v, const VirtioClass *cls, GError **err);
void virtio_pci_unrealize(VirtioPci *p);
void virtio_pci_reset(VirtioPci *p);

/* The VirtioPci member of a struct that begins with it in a state table, the VirtioDevice after. */
extern const StateTable virtio_pci_state;

extern const char *const virtio_pci_on_off_auto[];
/* Number of vectors, if @v is PCI with vectors=N given; else @def. For classes that have their own
 * default number. */
#define VIRTIO_PCI_PROPERTIES(S, f)                                                                \
    PCI_PROPERTIES(S),                                                                             \
        {.name = "disable-legacy",                                                                 \
         .kind = PROP_ENUM,                                                                        \
         .off = offsetof(S, f) + offsetof(VirtioPci, disable_legacy),                              \
         .def = "auto",                                                                            \
         .help = "no legacy interface (on, off, auto)",                                            \
         .values = virtio_pci_on_off_auto},                                                        \
        {"disable-modern", PROP_BOOL, offsetof(S, f) + offsetof(VirtioPci, disable_modern), "off", \
         "no 1.x interface"},                                                                      \
    {                                                                                              \
        "vectors", PROP_U32, offsetof(S, f) + offsetof(VirtioPci, vectors), "4294967295",          \
            "MSI-X vectors; 0: none; default: one a queue and one"                                 \
    }

#endif
