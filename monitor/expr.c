/*
 * Expressions of the monitor: 64-bit integers, C's operators and precedence for | ^ & << >> + -
 * * / % ~ - + and parentheses, 'c' characters, $registers.
 */
#include "core/log.h"
#include "monitor/hmp.h"
#include <errno.h>
#include <string.h>

#define MAX_DEPTH 64

typedef struct Parser {
    VCpu *cpu;
    const char *p;
    unsigned depth;
    GError **err;
} Parser;

static bool parse_or(Parser *s, uint64_t *v);

static void skip(Parser *s)
{
    while (*s->p == ' ' || *s->p == '\t') {
        s->p++;
    }
}

/* The binary operator that follows, or 0. One with a space in front must have one behind, too:
 * "1 - 2" is an expression, "1 -2" and "1 /tmp/file" are two arguments. */
static char peek_operator(Parser *s)
{
    const char *p = s->p;

    while (*p == ' ' || *p == '\t') {
        p++;
    }
    unsigned len = *p == '<' || *p == '>' ? 2 : 1;
    if (!*p || (len == 2 && p[1] != *p) || (p > s->p && p[len] != ' ' && p[len] != '\t')) {
        return 0;
    }
    if (strchr("*/%+-&^|<>", *p)) {
        s->p = p;
        return *p;
    }
    return 0;
}

static bool parse_register(Parser *s, uint64_t *v)
{
    const char *start = ++s->p;
    size_t n = 0;

    while (g_ascii_isalnum(start[n]) || start[n] == '_' || start[n] == '.') {
        n++;
    }
    g_autofree char *name = g_strndup(start, n);
    s->p += n;
    if (!s->cpu) {
        return fail(s->err, "there is no CPU to read $%s of", name);
    }
    if (!strcmp(name, "pc") && s->cpu->target->get_pc) {
        *v = s->cpu->target->get_pc(s->cpu);
        return true;
    }
    return (n && s->cpu->target->get_reg && s->cpu->target->get_reg(s->cpu, name, v)) ||
           fail(s->err, "the CPU has no register '%s'", name);
}

static bool parse_number(Parser *s, uint64_t *v)
{
    char *end;

    if (!g_ascii_isdigit(*s->p)) {
        return fail(s->err, *s->p ? "'%s' is no number" : "a number is missing%s", s->p);
    }
    errno = 0;
    *v = g_ascii_strtoull(s->p, &end, 0);
    if (errno || g_ascii_isalnum(*end)) {
        return fail(s->err, "'%s' is no number", s->p);
    }
    s->p = end;
    return true;
}

static bool parse_unary(Parser *s, uint64_t *v)
{
    bool ok;

    if (++s->depth > MAX_DEPTH) {
        return fail(s->err, "the expression is nested too deeply");
    }
    skip(s);
    switch (*s->p) {
    case '+':
        s->p++;
        ok = parse_unary(s, v);
        break;
    case '-':
        s->p++;
        ok = parse_unary(s, v);
        *v = -*v;
        break;
    case '~':
        s->p++;
        ok = parse_unary(s, v);
        *v = ~*v;
        break;
    case '(':
        s->p++;
        ok = parse_or(s, v);
        skip(s);
        if (ok && *s->p != ')') {
            ok = fail(s->err, "a ')' is missing");
        } else if (ok) {
            s->p++;
        }
        break;
    case '\'':
        ok = s->p[1] && s->p[2] == '\'';
        if (!ok) {
            return fail(s->err, "a character is written 'c'");
        }
        *v = (uint8_t)s->p[1];
        s->p += 3;
        break;
    case '$':
        ok = parse_register(s, v);
        break;
    default:
        ok = parse_number(s, v);
    }
    s->depth--;
    return ok;
}

static bool parse_product(Parser *s, uint64_t *v)
{
    uint64_t r;

    if (!parse_unary(s, v)) {
        return false;
    }
    for (;;) {
        char op = peek_operator(s);
        if (op != '*' && op != '/' && op != '%') {
            return true;
        }
        s->p++;
        if (!parse_unary(s, &r)) {
            return false;
        }
        if (op == '*') {
            *v *= r;
        } else if (!r) {
            return fail(s->err, "division by zero");
        } else {
            *v = op == '/' ? *v / r : *v % r;
        }
    }
}

static bool parse_sum(Parser *s, uint64_t *v)
{
    uint64_t r;

    if (!parse_product(s, v)) {
        return false;
    }
    for (;;) {
        char op = peek_operator(s);
        if (op != '+' && op != '-') {
            return true;
        }
        s->p++;
        if (!parse_product(s, &r)) {
            return false;
        }
        *v = op == '+' ? *v + r : *v - r;
    }
}

static bool parse_shift(Parser *s, uint64_t *v)
{
    uint64_t r;

    if (!parse_sum(s, v)) {
        return false;
    }
    for (;;) {
        char op = peek_operator(s);
        if (op != '<' && op != '>') {
            return true;
        }
        s->p += 2;
        if (!parse_sum(s, &r)) {
            return false;
        }
        *v = r > 63 ? 0 : op == '<' ? *v << r : *v >> r;
    }
}

static bool parse_and(Parser *s, uint64_t *v)
{
    uint64_t r;

    if (!parse_shift(s, v)) {
        return false;
    }
    while (peek_operator(s) == '&') {
        s->p++;
        if (!parse_shift(s, &r)) {
            return false;
        }
        *v &= r;
    }
    return true;
}

static bool parse_xor(Parser *s, uint64_t *v)
{
    uint64_t r;

    if (!parse_and(s, v)) {
        return false;
    }
    while (peek_operator(s) == '^') {
        s->p++;
        if (!parse_and(s, &r)) {
            return false;
        }
        *v ^= r;
    }
    return true;
}

static bool parse_or(Parser *s, uint64_t *v)
{
    uint64_t r;

    if (!parse_xor(s, v)) {
        return false;
    }
    while (peek_operator(s) == '|') {
        s->p++;
        if (!parse_xor(s, &r)) {
            return false;
        }
        *v |= r;
    }
    return true;
}

bool hmp_expr(VCpu *cpu, const char **p, uint64_t *val, GError **err)
{
    Parser s = {.cpu = cpu, .p = *p, .err = err};

    *val = 0;
    if (!parse_or(&s, val)) {
        return false;
    }
    *p = s.p;
    return true;
}
