/* Disassembly with capstone, if the program was built with it. */
#include "core/disas.h"
#include "config.h"
#include "core/machine.h"
#include <inttypes.h>
#include <string.h>
#ifdef HAVE_CAPSTONE
#include <capstone.h>
#endif

static void put_hex(const uint8_t *buf, size_t len, GString *out)
{
    for (size_t i = 0; i < len; i++) {
        g_string_append_printf(out, "%02x ", buf[i]);
    }
}

#ifdef HAVE_CAPSTONE

/* One line; the length of the instruction, or of what is passed over. */
static size_t put_insn(VCpu *cpu, csh handle, uint64_t addr, const uint8_t *buf, size_t n,
                       GString *out)
{
    cs_insn *insn;
    size_t got = cs_disasm(handle, buf, n, addr, 1, &insn);
    size_t unit = cpu->target->disas == VCPU_DISAS_X86       ? 1
                  : cpu->target->disas == VCPU_DISAS_AARCH64 ? 4
                                                             : 2;
    size_t len = got ? insn->size : MIN(unit, n);

    g_string_append_printf(out, "0x%08" PRIx64 ":  ", addr);
    put_hex(buf, len, out);
    g_string_append_printf(out, "%*s%s %s\n", (int)(len < 8 ? (8 - len) * 3 : 0), "",
                           got ? insn->mnemonic : "(bad)", got ? insn->op_str : "");
    if (got) {
        cs_free(insn, got);
    }
    return len;
}

/* Bytes that can be read from @addr on, at most @len. */
static size_t fetch(VCpu *cpu, uint64_t addr, bool physical, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!(physical ? mem_read(cpu->machine->memory, addr + i, buf + i, 1)
                       : vcpu_debug_rw(cpu, addr + i, buf + i, 1, false))) {
            return i;
        }
    }
    return len;
}

static bool open_for(VCpu *cpu, csh *handle)
{
    uint64_t bits = 0;
    cs_arch arch;
    cs_mode mode;

    /* Targets give the width of the code that is running under this name. */
    if (!cpu->target->get_reg || !cpu->target->get_reg(cpu, "codebits", &bits)) {
        bits = 64;
    }
    switch (cpu->target->disas) {
    case VCPU_DISAS_X86:
        arch = CS_ARCH_X86;
        mode = bits == 16 ? CS_MODE_16 : bits == 32 ? CS_MODE_32 : CS_MODE_64;
        break;
    case VCPU_DISAS_ARM:
        arch = CS_ARCH_ARM;
        mode = bits == 16 ? CS_MODE_THUMB : CS_MODE_ARM;
        break;
    case VCPU_DISAS_AARCH64:
        arch = CS_ARCH_ARM64;
        mode = CS_MODE_ARM;
        break;
#if CS_API_MAJOR >= 5 /* older ones do not know it */
    case VCPU_DISAS_RISCV:
        arch = CS_ARCH_RISCV;
        mode = (bits == 32 ? CS_MODE_RISCV32 : CS_MODE_RISCV64) | CS_MODE_RISCVC;
        break;
#endif
    default:
        return false;
    }
    if (cs_open(arch, mode, handle) != CS_ERR_OK) {
        return false;
    }
    if (arch == CS_ARCH_X86) {
        cs_option(*handle, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
    }
    return true;
}

void disas(VCpu *cpu, uint64_t addr, bool physical, unsigned count, GString *out)
{
    csh handle;

    if (!open_for(cpu, &handle)) {
        g_string_append(out, "There is no disassembler for this CPU\n");
        return;
    }
    while (count--) {
        uint8_t buf[16];
        size_t n = fetch(cpu, addr, physical, buf, sizeof(buf));

        if (!n) {
            g_string_append_printf(out, "Cannot access memory at 0x%" PRIx64 "\n", addr);
            break;
        }
        addr += put_insn(cpu, handle, addr, buf, n, out);
    }
    cs_close(&handle);
}

void disas_bytes(VCpu *cpu, uint64_t addr, const uint8_t *buf, size_t len, GString *out)
{
    csh handle;

    if (!open_for(cpu, &handle)) {
        put_hex(buf, len, out);
        g_string_append_c(out, '\n');
        return;
    }
    for (size_t at = 0; at < len;) {
        at += put_insn(cpu, handle, addr + at, buf + at, len - at, out);
    }
    cs_close(&handle);
}

#else

void disas_bytes(VCpu *cpu, uint64_t addr, const uint8_t *buf, size_t len, GString *out)
{
    put_hex(buf, len, out);
    g_string_append_c(out, '\n');
}

void disas(VCpu *cpu, uint64_t addr, bool physical, unsigned count, GString *out)
{
    g_string_append(out, "The program was built without a disassembler (capstone)\n");
}

#endif
