/*
 * A generic PCI host: configuration space memory-mapped (ECAM), an I/O and two memory windows, four
 * interrupt lines. What "pci-host-ecam-generic" of the device tree bindings describes.
 */
#ifndef RHEA_HW_PCI_PCIE_ECAM_H
#define RHEA_HW_PCI_PCIE_ECAM_H

#include "core/irq.h"
#include "core/machine.h"
#include "hw/firmware/fdt.h"
#include "hw/pci/pci.h"

typedef struct PcieEcam PcieEcam;

typedef struct PcieEcamConfig {
    uint64_t ecam, ecam_size; /* 1 MiB a bus */
    uint64_t io, io_size;     /* shows PCI I/O ports 0… */
    /* PCI memory, at the same address as on the CPU's side; size 0: none */
    uint64_t mem32, mem32_size, mem64, mem64_size;
    Irq irq[4]; /* pin INTA# of slot n is line n mod 4, and so on */
    void (*msi)(void *opaque, uint64_t addr, uint32_t data); /* NULL: MSIs are memory writes */
    void *msi_opaque;
} PcieEcamConfig;

PcieEcam *pcie_ecam_new(Machine *m, MemRegion *parent, const PcieEcamConfig *cfg, GError **err);
PciBus *pcie_ecam_bus(PcieEcam *s);
/* Its node below @parent_path. Interrupt n of the lines is that of three-cell or one-cell
 * specifiers: @intc is the controller's phandle, @spec the @n_spec cells of line 0, to whose cell
 * number @vary the line is added; the controller has @intc_addr_cells address cells. */
void pcie_ecam_fdt(PcieEcam *s, Fdt *f, const char *parent_path, uint32_t intc,
                   const uint32_t *spec, unsigned n_spec, unsigned vary, unsigned intc_addr_cells);

#endif
