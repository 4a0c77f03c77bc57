/*
 * Images described by options, as -blockdev and json:{…} do: "driver", "filename" and those of the
 * formats, with children in keys like "file.filename" and "backing.driver", or named by the
 * node-name of another -blockdev.
 */
#ifndef RHEA_BLOCK_TREE_H
#define RHEA_BLOCK_TREE_H

#include "block/block.h"
#include "block/driver.h"
#include "core/option.h"

struct Machine;

/* @text: "json:{…}", "{…}" or key=value,… → flat options; @what names the option in messages. */
Options *tree_parse(const char *what, const char *text, GError **err);
bool tree_is_json(const char *text);
/* Opens what @o describes. @m: where node-names are looked up (may be NULL). @flags: IMAGE_* that
 * the user's options add to. Every key must be known. */
bool tree_open(BlockFile *out, Options *o, struct Machine *m, unsigned flags, GError **err);

#endif
