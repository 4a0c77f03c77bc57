/* HMP: memory, ports, expressions. */
#include "core/disas.h"
#include "core/log.h"
#include "monitor/hmp.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_char(Hmp *h, uint8_t c)
{
    switch (c) {
    case '\n':
        hmp_printf(h, "'\\n'");
        break;
    case '\r':
        hmp_printf(h, "'\\r'");
        break;
    case '\'':
        hmp_printf(h, "'\\''");
        break;
    case '\\':
        hmp_printf(h, "'\\\\'");
        break;
    default:
        hmp_printf(h, c >= 32 && c < 127 ? "'%c'" : "'\\x%02x'", c);
    }
}

static int64_t sign_extend(uint64_t v, unsigned size)
{
    unsigned shift = 64 - size * 8;

    return (int64_t)(v << shift) >> shift;
}

static void print_value(Hmp *h, uint64_t v, char format, unsigned size)
{
    switch (format) {
    case 'd':
        hmp_printf(h, "%" PRId64, sign_extend(v, size));
        break;
    case 'u':
        hmp_printf(h, "%" PRIu64, v);
        break;
    case 'o':
        hmp_printf(h, "0%" PRIo64, v);
        break;
    case 'c':
        print_char(h, v);
        break;
    default:
        hmp_printf(h, "0x%0*" PRIx64, (int)size * 2, v);
    }
}

static bool read_mem(Hmp *h, VCpu *cpu, uint64_t addr, bool physical, void *buf, size_t len)
{
    return physical ? mem_read(h->m->memory, addr, buf, len)
                    : vcpu_debug_rw(cpu, addr, buf, len, false);
}

static void dump(Hmp *h, const HmpArgs *a, bool physical)
{
    VCpu *cpu = h->m->n_vcpus ? hmp_vcpu(h) : NULL;
    uint64_t addr = hmp_num(a, "addr", 0);
    char format = a->fmt.format ? a->fmt.format : 'x';
    unsigned size = a->fmt.size ? a->fmt.size : 4;
    unsigned per_line = format == 'c' ? 8 : 16 / size;

    if (!cpu && (!physical || format == 'i')) {
        hmp_vcpu(h);
        return;
    }
    if (format == 'i') {
        disas(cpu, addr, physical, MIN(a->fmt.count, 1024), h->out);
        return;
    }
    for (unsigned i = 0; i < a->fmt.count; i++) {
        uint64_t v = 0;

        if (i % per_line == 0) {
            hmp_printf(h, "%s%016" PRIx64 ":", i ? "\n" : "", addr);
        }
        if (!read_mem(h, cpu, addr, physical, &v, size)) {
            hmp_printf(h, " Cannot access memory\n");
            return;
        }
        hmp_printf(h, " ");
        print_value(h, v, format, size);
        addr += size;
    }
    hmp_printf(h, "\n");
}

static void cmd_x(Hmp *h, const HmpArgs *a)
{
    dump(h, a, false);
}

static void cmd_xp(Hmp *h, const HmpArgs *a)
{
    dump(h, a, true);
}

static void cmd_print(Hmp *h, const HmpArgs *a)
{
    uint64_t v = hmp_num(a, "val", 0);

    if (a->fmt.format == 'x') {
        hmp_printf(h, "0x%" PRIx64, v);
    } else {
        print_value(h, v, a->fmt.format ? a->fmt.format : 'd', 8);
    }
    hmp_printf(h, "\n");
}

static void cmd_gva2gpa(Hmp *h, const HmpArgs *a)
{
    VCpu *cpu = hmp_vcpu(h);
    uint64_t phys = cpu ? cpu->target->debug_translate(cpu, hmp_num(a, "addr", 0)) : UINT64_MAX;

    if (cpu && phys == UINT64_MAX) {
        hmp_printf(h, "Unmapped\n");
    } else if (cpu) {
        hmp_printf(h, "gpa: %#" PRIx64 "\n", phys);
    }
}

static void save(Hmp *h, const HmpArgs *a, bool physical)
{
    VCpu *cpu = physical ? NULL : hmp_vcpu(h);
    uint64_t addr = hmp_num(a, "val", 0), left = hmp_num(a, "size", 0);
    const char *path = hmp_text(a, "filename");
    uint8_t buf[4096];

    if (!physical && !cpu) {
        return;
    }
    FILE *f = fopen(path, "wbe");
    if (!f) {
        hmp_printf(h, "Error: cannot open '%s': %s\n", path, g_strerror(errno));
        return;
    }
    while (left) {
        size_t n = MIN(left, sizeof(buf) - (addr & (sizeof(buf) - 1)));

        if (!read_mem(h, cpu, addr, physical, buf, n)) {
            if (!physical) {
                hmp_printf(h, "Error: invalid address 0x%016" PRIx64 "\n", addr);
                break;
            }
        }
        if (fwrite(buf, 1, n, f) != n) {
            hmp_printf(h, "Error: cannot write '%s': %s\n", path, g_strerror(errno));
            break;
        }
        addr += n;
        left -= n;
    }
    if (fclose(f)) {
        hmp_printf(h, "Error: cannot write '%s': %s\n", path, g_strerror(errno));
    }
}

static void cmd_memsave(Hmp *h, const HmpArgs *a)
{
    save(h, a, false);
}

static void cmd_pmemsave(Hmp *h, const HmpArgs *a)
{
    save(h, a, true);
}

/* The checksum of BSD's sum(1) over physical memory. */
static void cmd_sum(Hmp *h, const HmpArgs *a)
{
    uint64_t addr = hmp_num(a, "start", 0), left = hmp_num(a, "size", 0);
    uint16_t sum = 0;
    uint8_t buf[4096];

    while (left) {
        size_t n = MIN(left, sizeof(buf));

        mem_read(h->m->memory, addr, buf, n);
        for (size_t i = 0; i < n; i++) {
            sum = (sum >> 1 | sum << 15) + buf[i];
        }
        addr += n;
        left -= n;
    }
    hmp_printf(h, "%05d\n", sum);
}

static unsigned port_size(const HmpArgs *a)
{
    return a->fmt.size == 2 || a->fmt.size == 4 ? a->fmt.size : 1;
}

static void cmd_in(Hmp *h, const HmpArgs *a)
{
    uint64_t port = hmp_num(a, "addr", 0) & 0xffff;
    unsigned size = port_size(a);
    uint64_t v;

    if (hmp_has(a, "index")) {
        mem_store(h->m->io, port, hmp_num(a, "index", 0) & 0xff, 1);
        port++;
    }
    v = mem_load(h->m->io, port, size);
    hmp_printf(h, "port%c[0x%04" PRIx64 "] = 0x%0*" PRIx64 "\n", "?bw?l"[size], port, (int)size * 2,
               v);
}

static void cmd_out(Hmp *h, const HmpArgs *a)
{
    mem_store(h->m->io, hmp_num(a, "addr", 0) & 0xffff, hmp_num(a, "val", 0), port_size(a));
}

const HmpCommand hmp_memory_commands[] = {
    {"x", "fmt:/,addr:l", "/fmt addr", "virtual memory dump starting at 'addr'", cmd_x, true},
    {"xp", "fmt:/,addr:l", "/fmt addr", "physical memory dump starting at 'addr'", cmd_xp, true},
    {"print|p", "fmt:/,val:l", "/fmt expr", "print expression value (use $reg for CPU registers)",
     cmd_print, true},
    {"i", "fmt:/,addr:i,index:i?", "/fmt addr", "I/O port read", cmd_in},
    {"o", "fmt:/,addr:i,val:i", "/fmt addr value", "I/O port write", cmd_out},
    {"gva2gpa", "addr:l", "addr", "print the guest physical address of a guest virtual address",
     cmd_gva2gpa, true},
    {"memsave", "val:l,size:l,filename:s", "addr size file",
     "save to disk virtual memory dump starting at 'addr' of size 'size'", cmd_memsave, true},
    {"pmemsave", "val:l,size:l,filename:s", "addr size file",
     "save to disk physical memory dump starting at 'addr' of size 'size'", cmd_pmemsave},
    {"sum", "start:l,size:l", "addr size", "compute the checksum of a memory region", cmd_sum},
    {NULL},
};
