/*
 * One virtio device, two device types: NAME-pci on a PCI bus and NAME-device on a virtio-bus. The
 * device's struct @S begins with `VirtioDevice v`; PROPS(T) is a macro with the entries of the
 * property table for the struct T whose member `d` is the S.
 */
#ifndef RHEA_HW_VIRTIO_VIRTIO_TYPES_H
#define RHEA_HW_VIRTIO_VIRTIO_TYPES_H

#include "hw/virtio/virtio_mmio.h"
#include "hw/virtio/virtio_pci.h"

#define VIRTIO_PCI_TYPE(S, ident, type_name, type_alias, title, cls, own_state, PROPS)             \
    typedef struct S##Pci {                                                                        \
        VirtioPci pci;                                                                             \
        S d;                                                                                       \
    } S##Pci;                                                                                      \
    static bool ident##_pci_realize(Device *dev, GError **err)                                     \
    {                                                                                              \
        S##Pci *s = (S##Pci *)dev;                                                                 \
        return virtio_pci_realize(&s->pci, &s->d.v, &cls, err);                                    \
    }                                                                                              \
    static void ident##_pci_unrealize(Device *dev)                                                 \
    {                                                                                              \
        virtio_pci_unrealize((VirtioPci *)dev);                                                    \
    }                                                                                              \
    static void ident##_pci_reset(Device *dev)                                                     \
    {                                                                                              \
        virtio_pci_reset((VirtioPci *)dev);                                                        \
    }                                                                                              \
    static const Property ident##_pci_props[] = {                                                  \
        VIRTIO_PCI_PROPERTIES(S##Pci, pci), VIRTIO_PROPERTIES(S##Pci, d.v), PROPS(S##Pci){NULL}};  \
    static const StateField ident##_pci_fields[] = {                                               \
        STATE_STRUCT_ARRAY(S##Pci, pci, VirtioPci, &virtio_pci_state),                             \
        STATE_STRUCT_ARRAY(S##Pci, d, S, &own_state), STATE_END_FIELD};                            \
    static const StateTable ident##_pci_state = {                                                  \
        .name = type_name "-pci", .version = 1, .fields = ident##_pci_fields};                     \
    const DeviceType ident##_pci_type = {                                                          \
        .name = type_name "-pci",                                                                  \
        .alias = type_alias,                                                                       \
        .desc = title,                                                                             \
        .bus = "PCI",                                                                              \
        .size = sizeof(S##Pci),                                                                    \
        .user_creatable = true,                                                                    \
        .props = ident##_pci_props,                                                                \
        .realize = ident##_pci_realize,                                                            \
        .unrealize = ident##_pci_unrealize,                                                        \
        .reset = ident##_pci_reset,                                                                \
        .state = &ident##_pci_state,                                                               \
    }

#define VIRTIO_BUS_TYPE(S, ident, type_name, title, cls, own_state, PROPS)                         \
    typedef struct S##OnBus {                                                                      \
        Device dev;                                                                                \
        S d;                                                                                       \
    } S##OnBus;                                                                                    \
    static bool ident##_bus_realize(Device *dev, GError **err)                                     \
    {                                                                                              \
        return virtio_mmio_plug(&((S##OnBus *)dev)->d.v, &cls, dev, err);                          \
    }                                                                                              \
    static void ident##_bus_unrealize(Device *dev)                                                 \
    {                                                                                              \
        virtio_mmio_unplug(&((S##OnBus *)dev)->d.v);                                               \
    }                                                                                              \
    static void ident##_bus_reset(Device *dev)                                                     \
    {                                                                                              \
        virtio_mmio_reset_device(&((S##OnBus *)dev)->d.v);                                         \
    }                                                                                              \
    static const Property ident##_bus_props[] = {VIRTIO_PROPERTIES(S##OnBus, d.v),                 \
                                                 PROPS(S##OnBus){NULL}};                           \
    static const StateField ident##_bus_fields[] = {                                               \
        STATE_STRUCT_ARRAY(S##OnBus, d, S, &own_state), STATE_END_FIELD};                          \
    static const StateTable ident##_bus_state = {                                                  \
        .name = type_name "-device", .version = 1, .fields = ident##_bus_fields};                  \
    const DeviceType ident##_device_type = {                                                       \
        .name = type_name "-device",                                                               \
        .desc = title,                                                                             \
        .bus = "virtio-bus",                                                                       \
        .size = sizeof(S##OnBus),                                                                  \
        .user_creatable = true,                                                                    \
        .props = ident##_bus_props,                                                                \
        .realize = ident##_bus_realize,                                                            \
        .unrealize = ident##_bus_unrealize,                                                        \
        .reset = ident##_bus_reset,                                                                \
        .state = &ident##_bus_state,                                                               \
    }

#endif
