/*
 * A writer of AML, the byte code of ACPI (ACPI specification 6.x, chapter 20). Terms are appended
 * in order; those with a package length (scopes, devices, methods, packages, buffers, if) are
 * opened by their function and closed by aml_end(). Names are written as in ASL: "\\_SB", "PCI0",
 * "^PRQ0", "\\_SB.PCI0.ISA"; segments shorter than four letters are filled up with "_".
 */
#ifndef RHEA_HW_ACPI_AML_H
#define RHEA_HW_ACPI_AML_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define AML_DEPTH 16

typedef struct Aml {
    GByteArray *out;
    unsigned open[AML_DEPTH]; /* where the contents of open terms begin */
    bool buffer[AML_DEPTH];   /* a resource template: size is put in front */
    unsigned depth;
} Aml;

void aml_init(Aml *a);
/* The bytes; nothing may be open. The caller owns them. */
GByteArray *aml_finish(Aml *a);

/* Opened terms. */
void aml_scope(Aml *a, const char *name);
void aml_device(Aml *a, const char *name);
void aml_method(Aml *a, const char *name, unsigned args, bool serialized);
void aml_package(Aml *a, unsigned elements);
void aml_if(Aml *a); /* the predicate comes next */
void aml_else(Aml *a);
void aml_resources(Aml *a); /* ResourceTemplate () */
/* Field (region, access, NoLock, Preserve); @access 1 byte, 2 word, 3 dword. */
void aml_field(Aml *a, const char *region, unsigned access);
void aml_end(Aml *a);

/* Data objects. */
void aml_int(Aml *a, uint64_t val);
void aml_string(Aml *a, const char *text);
void aml_eisa_id(Aml *a, const char *id); /* "PNP0A03" */
void aml_path(Aml *a, const char *name);  /* a reference, or a call without arguments */
void aml_arg(Aml *a, unsigned n);
void aml_local(Aml *a, unsigned n);

/* Name (name, …): the object comes next. */
void aml_name(Aml *a, const char *name);
void aml_name_int(Aml *a, const char *name, uint64_t val);
void aml_name_string(Aml *a, const char *name, const char *text);
void aml_name_eisa(Aml *a, const char *name, const char *id);
/* OperationRegion (name, space, offset, length); space 1 system I/O, 2 PCI configuration. */
void aml_region(Aml *a, const char *name, unsigned space, uint64_t off, uint64_t len);
/* One entry of an open field: @bits under @name, or skipped when NULL. */
void aml_field_unit(Aml *a, const char *name, unsigned bits);
/* Processor (name, id, 0, 0) {}: ACPI 1.0 form that old systems know. */
void aml_processor(Aml *a, const char *name, uint8_t id);

/* Operators in front of their operands. */
void aml_return(Aml *a);             /* value follows */
void aml_store(Aml *a);              /* source, target follow */
void aml_and(Aml *a);                /* a, b, target */
void aml_or(Aml *a);                 /* a, b, target */
void aml_null(Aml *a);               /* no target */
void aml_create_dword_field(Aml *a); /* buffer, index, name follow */

/* Resource descriptors, inside aml_resources(). */
void aml_res_io(Aml *a, uint16_t min, uint16_t max, uint8_t align, uint8_t len);
void aml_res_irq(Aml *a, uint16_t mask); /* IRQNoFlags: edge, active high */
void aml_res_irq1(Aml *a, unsigned irq);
void aml_res_dma(Aml *a, uint8_t mask); /* compatibility, not a bus master, 8 bit */
void aml_res_memory32(Aml *a, bool writable, uint32_t base, uint32_t len);
/* Interrupt (ResourceConsumer, Level, ActiveHigh, Shared). */
void aml_res_interrupt(Aml *a, const uint32_t *irqs, unsigned n);
/* Windows that a host bridge passes on (ResourceProducer, fixed). */
void aml_res_word_bus(Aml *a, uint16_t min, uint16_t max);
void aml_res_word_io(Aml *a, uint16_t min, uint16_t max);
void aml_res_dword_memory(Aml *a, bool cacheable, uint32_t min, uint32_t max);
void aml_res_qword_memory(Aml *a, bool cacheable, uint64_t min, uint64_t max);

#endif
