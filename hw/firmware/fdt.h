/*
 * Flat device trees for boards, on libfdt: a tree of fixed capacity that grows by nodes and
 * properties. What does not fit any more makes dt_finish() fail; the calls in between need no
 * checks. Device tree specification 0.4.
 */
#ifndef RHEA_HW_FIRMWARE_FDT_H
#define RHEA_HW_FIRMWARE_FDT_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Fdt Fdt;

/* A tree with an empty root. */
Fdt *dt_new(void);
/* The tree of a file (-dtb), with room to add. One sentence when it is no device tree. */
Fdt *dt_open(const char *path, GError **err);
void dt_free(Fdt *f);

/* Make node @path; its parents must exist. Format as printf's. */
void dt_node(Fdt *f, const char *path, ...) G_GNUC_PRINTF(2, 3);
bool dt_has_node(Fdt *f, const char *path);
/* Properties of the node made last, or of @path after dt_at(). */
void dt_at(Fdt *f, const char *path);
void dt_flag(Fdt *f, const char *name);
void dt_text(Fdt *f, const char *name, const char *text);
/* Several strings, ended by NULL. */
void dt_texts(Fdt *f, const char *name, const char *first, ...) G_GNUC_NULL_TERMINATED;
void dt_bytes(Fdt *f, const char *name, const void *data, size_t len);
void dt_u64(Fdt *f, const char *name, uint64_t v);
/* @n cells from an array; or counted from the arguments. */
void dt_cells(Fdt *f, const char *name, const uint32_t *cells, unsigned n);
#define dt_u32s(f, name, ...)                                                                      \
    dt_cells(f, name, (const uint32_t[]){__VA_ARGS__},                                             \
             sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
/* "reg" of one range with two cells each for address and size. */
void dt_reg(Fdt *f, uint64_t addr, uint64_t size);
/* A handle no other node has. */
uint32_t dt_new_phandle(Fdt *f);

/* /chosen: bootargs, the initial ram disk (0, 0: none) */
void dt_chosen(Fdt *f, const char *bootargs, uint64_t initrd, uint64_t initrd_end);

/* The blob, *@len bytes; belongs to @f. NULL and one sentence when something did not fit. */
const void *dt_finish(Fdt *f, size_t *len, GError **err);
/* -machine dumpdtb=FILE */
bool dt_dump(Fdt *f, const char *path, GError **err);

#endif
