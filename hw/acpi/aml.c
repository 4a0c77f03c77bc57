/* AML writer: ACPI specification 6.4, chapters 20 (AML) and 6.4 (resource descriptors). */
#include "hw/acpi/aml.h"
#include <string.h>

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXT = 0x5b,
    OP_LOCAL0 = 0x60,
    OP_ARG0 = 0x68,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_OR = 0x7d,
    OP_CREATE_DWORD_FIELD = 0x8a,
    OP_IF = 0xa0,
    OP_ELSE = 0xa1,
    OP_RETURN = 0xa4,

    EXT_REGION = 0x80,
    EXT_FIELD = 0x81,
    EXT_DEVICE = 0x82,
    EXT_PROCESSOR = 0x83,
};

/* ---- bytes ---- */

static void byte(Aml *a, unsigned val)
{
    uint8_t b = (uint8_t)val;
    g_byte_array_append(a->out, &b, 1);
}

static void number(Aml *a, uint64_t val, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        byte(a, (unsigned)(val >> (8 * i)) & 0xff);
    }
}

/* NameString: prefix characters, then segments of four letters. */
static void name_string(Aml *a, const char *name)
{
    unsigned segs = 1;

    while (*name == '\\' || *name == '^') {
        byte(a, (unsigned char)*name++);
    }
    if (!*name) {
        byte(a, 0);
        return;
    }
    for (const char *p = name; *p; p++) {
        segs += *p == '.';
    }
    if (segs == 2) {
        byte(a, OP_DUAL_NAME);
    } else if (segs > 2) {
        byte(a, OP_MULTI_NAME);
        byte(a, segs);
    }
    for (unsigned i = 0; i < segs; i++) {
        size_t n = strcspn(name, ".");
        g_assert(n >= 1 && n <= 4);
        for (unsigned j = 0; j < 4; j++) {
            byte(a, j < n ? (unsigned char)name[j] : '_');
        }
        name += n + (name[n] == '.');
    }
}

static void open_term(Aml *a, bool buffer)
{
    g_assert(a->depth < AML_DEPTH);
    a->open[a->depth] = a->out->len;
    a->buffer[a->depth++] = buffer;
}

static void insert(Aml *a, unsigned at, const uint8_t *data, unsigned n)
{
    unsigned len = a->out->len;
    g_byte_array_set_size(a->out, len + n);
    memmove(a->out->data + at + n, a->out->data + at, len - at);
    memcpy(a->out->data + at, data, n);
}

/* PkgLength counts itself. */
static unsigned pkg_length(uint8_t *p, unsigned len)
{
    unsigned n = len + 1 < 0x40 ? 1 : len + 2 < 0x1000 ? 2 : len + 3 < 0x100000 ? 3 : 4;

    len += n;
    g_assert(len < 1u << 28);
    if (n == 1) {
        p[0] = (uint8_t)len;
        return n;
    }
    p[0] = (uint8_t)((n - 1) << 6 | (len & 15));
    for (unsigned i = 1; i < n; i++) {
        p[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
    }
    return n;
}

void aml_end(Aml *a)
{
    uint8_t head[4];

    g_assert(a->depth > 0);
    unsigned at = a->open[--a->depth];
    if (a->buffer[a->depth]) {
        byte(a, 0x79); /* end tag; checksum 0 = not used */
        byte(a, 0);
        Aml size = {.out = g_byte_array_new()};
        aml_int(&size, a->out->len - at);
        insert(a, at, size.out->data, size.out->len);
        g_byte_array_unref(size.out);
    }
    unsigned n = pkg_length(head, a->out->len - at);
    insert(a, at, head, n);
}

void aml_init(Aml *a)
{
    memset(a, 0, sizeof(*a));
    a->out = g_byte_array_new();
}

GByteArray *aml_finish(Aml *a)
{
    g_assert(a->depth == 0);
    return g_steal_pointer(&a->out);
}

/* ---- opened terms ---- */

void aml_scope(Aml *a, const char *name)
{
    byte(a, OP_SCOPE);
    open_term(a, false);
    name_string(a, name);
}

void aml_device(Aml *a, const char *name)
{
    byte(a, OP_EXT);
    byte(a, EXT_DEVICE);
    open_term(a, false);
    name_string(a, name);
}

void aml_method(Aml *a, const char *name, unsigned args, bool serialized)
{
    byte(a, OP_METHOD);
    open_term(a, false);
    name_string(a, name);
    byte(a, (args & 7) | (serialized ? 8 : 0));
}

void aml_package(Aml *a, unsigned elements)
{
    g_assert(elements < 256);
    byte(a, OP_PACKAGE);
    open_term(a, false);
    byte(a, elements);
}

void aml_if(Aml *a)
{
    byte(a, OP_IF);
    open_term(a, false);
}

void aml_else(Aml *a)
{
    byte(a, OP_ELSE);
    open_term(a, false);
}

void aml_resources(Aml *a)
{
    byte(a, OP_BUFFER);
    open_term(a, true);
}

void aml_field(Aml *a, const char *region, unsigned access)
{
    byte(a, OP_EXT);
    byte(a, EXT_FIELD);
    open_term(a, false);
    name_string(a, region);
    byte(a, access & 15);
}

/* ---- data ---- */

void aml_int(Aml *a, uint64_t val)
{
    if (val <= 1) {
        byte(a, val ? OP_ONE : OP_ZERO);
    } else if (val <= 0xff) {
        byte(a, OP_BYTE);
        number(a, val, 1);
    } else if (val <= 0xffff) {
        byte(a, OP_WORD);
        number(a, val, 2);
    } else if (val <= 0xffffffff) {
        byte(a, OP_DWORD);
        number(a, val, 4);
    } else {
        byte(a, OP_QWORD);
        number(a, val, 8);
    }
}

void aml_string(Aml *a, const char *text)
{
    byte(a, OP_STRING);
    g_byte_array_append(a->out, (const uint8_t *)text, (guint)strlen(text) + 1);
}

void aml_eisa_id(Aml *a, const char *id)
{
    uint32_t v = 0;

    /* Three letters of 5 bits, four hex digits; big endian. */
    for (unsigned i = 0; i < 3; i++) {
        v = v << 5 | (uint32_t)(id[i] - '@');
    }
    for (unsigned i = 3; i < 7; i++) {
        v = v << 4 | (uint32_t)g_ascii_xdigit_value(id[i]);
    }
    byte(a, OP_DWORD);
    number(a, GUINT32_SWAP_LE_BE(v), 4);
}

void aml_path(Aml *a, const char *name)
{
    name_string(a, name);
}

void aml_arg(Aml *a, unsigned n)
{
    byte(a, OP_ARG0 + n);
}

void aml_local(Aml *a, unsigned n)
{
    byte(a, OP_LOCAL0 + n);
}

void aml_name(Aml *a, const char *name)
{
    byte(a, OP_NAME);
    name_string(a, name);
}

void aml_name_int(Aml *a, const char *name, uint64_t val)
{
    aml_name(a, name);
    aml_int(a, val);
}

void aml_name_string(Aml *a, const char *name, const char *text)
{
    aml_name(a, name);
    aml_string(a, text);
}

void aml_name_eisa(Aml *a, const char *name, const char *id)
{
    aml_name(a, name);
    aml_eisa_id(a, id);
}

void aml_region(Aml *a, const char *name, unsigned space, uint64_t off, uint64_t len)
{
    byte(a, OP_EXT);
    byte(a, EXT_REGION);
    name_string(a, name);
    byte(a, space);
    aml_int(a, off);
    aml_int(a, len);
}

void aml_field_unit(Aml *a, const char *name, unsigned bits)
{
    uint8_t len[4];

    if (name) {
        name_string(a, name);
    } else {
        byte(a, 0);
    }
    /* Encoded like a PkgLength that does not count itself. */
    g_assert(bits < 0x40);
    len[0] = (uint8_t)bits;
    g_byte_array_append(a->out, len, 1);
}

void aml_processor(Aml *a, const char *name, uint8_t id)
{
    byte(a, OP_EXT);
    byte(a, EXT_PROCESSOR);
    open_term(a, false);
    name_string(a, name);
    byte(a, id);
    number(a, 0, 4);
    byte(a, 0);
    aml_end(a);
}

/* ---- operators ---- */

void aml_return(Aml *a)
{
    byte(a, OP_RETURN);
}

void aml_store(Aml *a)
{
    byte(a, OP_STORE);
}

void aml_and(Aml *a)
{
    byte(a, OP_AND);
}

void aml_or(Aml *a)
{
    byte(a, OP_OR);
}

void aml_null(Aml *a)
{
    byte(a, 0);
}

void aml_create_dword_field(Aml *a)
{
    byte(a, OP_CREATE_DWORD_FIELD);
}

/* ---- resources ---- */

void aml_res_io(Aml *a, uint16_t min, uint16_t max, uint8_t align, uint8_t len)
{
    byte(a, 0x47);
    byte(a, 1); /* decodes 16 bits */
    number(a, min, 2);
    number(a, max, 2);
    byte(a, align);
    byte(a, len);
}

void aml_res_irq(Aml *a, uint16_t mask)
{
    byte(a, 0x22);
    number(a, mask, 2);
}

void aml_res_irq1(Aml *a, unsigned irq)
{
    aml_res_irq(a, (uint16_t)(1u << irq));
}

void aml_res_dma(Aml *a, uint8_t mask)
{
    byte(a, 0x2a);
    byte(a, mask);
    byte(a, 0);
}

void aml_res_memory32(Aml *a, bool writable, uint32_t base, uint32_t len)
{
    byte(a, 0x86);
    number(a, 9, 2);
    byte(a, writable);
    number(a, base, 4);
    number(a, len, 4);
}

void aml_res_interrupt(Aml *a, const uint32_t *irqs, unsigned n)
{
    byte(a, 0x89);
    number(a, 2 + 4 * n, 2);
    byte(a, 0x09); /* consumer, level, active high, shared */
    byte(a, n);
    for (unsigned i = 0; i < n; i++) {
        number(a, irqs[i], 4);
    }
}

/* Address space descriptors: @type 0 memory, 1 I/O, 2 bus numbers; minimum and maximum fixed. */
static void address_space(Aml *a, unsigned tag, unsigned size, unsigned type, unsigned flags,
                          uint64_t min, uint64_t max)
{
    byte(a, tag);
    number(a, 3 + 5 * size, 2);
    byte(a, type);
    byte(a, 0x0c);
    byte(a, flags);
    number(a, 0, size); /* granularity */
    number(a, min, size);
    number(a, max, size);
    number(a, 0, size); /* translation */
    number(a, max - min + 1, size);
}

void aml_res_word_bus(Aml *a, uint16_t min, uint16_t max)
{
    address_space(a, 0x88, 2, 2, 0, min, max);
}

void aml_res_word_io(Aml *a, uint16_t min, uint16_t max)
{
    address_space(a, 0x88, 2, 1, 3, min, max); /* the entire range */
}

void aml_res_dword_memory(Aml *a, bool cacheable, uint32_t min, uint32_t max)
{
    address_space(a, 0x87, 4, 0, cacheable ? 3 : 1, min, max);
}

void aml_res_qword_memory(Aml *a, bool cacheable, uint64_t min, uint64_t max)
{
    address_space(a, 0x8a, 8, 0, cacheable ? 3 : 1, min, max);
}
