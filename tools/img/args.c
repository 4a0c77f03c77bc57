/* Options of rhea-img's commands. */
#include "core/log.h"
#include "tools/img/img.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_OUTPUT = 256,
    OPT_SHRINK,
    OPT_IMAGE_OPTS,
    OPT_CHAIN,
    OPT_PREALLOC,
    OPT_START,
    OPT_LENGTH,
    OPT_SIZE,
    OPT_IS_ZERO,
    OPT_SALVAGE,
    OPT_FLUSH,
    OPT_PATTERN,
    OPT_TARGET_OPTS,
};

static const struct option longs[] = {{"output", required_argument, NULL, OPT_OUTPUT},
                                      {"shrink", no_argument, NULL, OPT_SHRINK},
                                      {"force-share", no_argument, NULL, 'U'},
                                      {"image-opts", no_argument, NULL, OPT_IMAGE_OPTS},
                                      {"target-image-opts", no_argument, NULL, OPT_TARGET_OPTS},
                                      {"backing-chain", no_argument, NULL, OPT_CHAIN},
                                      {"preallocation", required_argument, NULL, OPT_PREALLOC},
                                      {"start-offset", required_argument, NULL, OPT_START},
                                      {"max-length", required_argument, NULL, OPT_LENGTH},
                                      {"size", required_argument, NULL, OPT_SIZE},
                                      {"target-is-zero", no_argument, NULL, OPT_IS_ZERO},
                                      {"salvage", no_argument, NULL, OPT_SALVAGE},
                                      {"flush-interval", required_argument, NULL, OPT_FLUSH},
                                      {"pattern", required_argument, NULL, OPT_PATTERN},
                                      {0}};

/* Short options, and the numbers of the long ones that a command has. */
static const struct {
    const char *cmd, *shorts;
    int longs[8];
} commands[] = {
    {"create", ":f:o:b:F:qu", {0}},
    {"info", ":f:U", {OPT_OUTPUT, OPT_IMAGE_OPTS, OPT_CHAIN}},
    {"check", ":f:r:qT:U", {OPT_OUTPUT, OPT_IMAGE_OPTS}},
    {"convert",
     ":f:O:o:B:F:s:l:S:m:r:t:T:cCnpqUW",
     {OPT_IMAGE_OPTS, OPT_IS_ZERO, OPT_SALVAGE, OPT_TARGET_OPTS}},
    {"resize", ":f:q", {OPT_SHRINK, OPT_PREALLOC, OPT_IMAGE_OPTS}},
    {"map", ":f:U", {OPT_OUTPUT, OPT_IMAGE_OPTS, OPT_START, OPT_LENGTH}},
    {"compare", ":f:F:T:pqsU", {OPT_IMAGE_OPTS}},
    {"snapshot", ":f:Uqlc:a:d:", {OPT_IMAGE_OPTS}},
    {"commit", ":f:t:b:r:dpq", {OPT_IMAGE_OPTS}},
    {"rebase", ":f:t:T:b:F:pquU", {OPT_IMAGE_OPTS}},
    {"measure", ":f:O:o:l:U", {OPT_OUTPUT, OPT_IMAGE_OPTS, OPT_SIZE}},
    {"amend", ":f:o:t:pq", {OPT_IMAGE_OPTS}},
    {"bench", ":c:d:f:i:no:s:S:t:wqU", {OPT_FLUSH, OPT_PATTERN, OPT_IMAGE_OPTS}},
    {"dd", ":f:O:U", {OPT_IMAGE_OPTS}},
};

static bool number(const char *text, uint64_t *n, const char *what, GError **err)
{
    return image_parse_size(text, n, NULL) || fail(err, "%s: '%s' is not a number", what, text);
}

static bool long_option(Args *a, int c, const char *v, GError **err)
{
    switch (c) {
    case OPT_OUTPUT:
        a->json = !strcmp(v, "json");
        return a->json || !strcmp(v, "human") ||
               fail(err, "--output=%s is neither human nor json", v);
    case OPT_SHRINK:
        a->shrink = true;
        return true;
    case OPT_IMAGE_OPTS:
        a->image_opts = true;
        return true;
    case OPT_TARGET_OPTS:
        a->target_opts = true;
        return true;
    case OPT_CHAIN:
        a->chain = true;
        return true;
    case OPT_PREALLOC:
        a->prealloc = v;
        return true;
    case OPT_START:
        return number(v, &a->start, "--start-offset", err);
    case OPT_LENGTH:
        return number(v, &a->length, "--max-length", err);
    case OPT_SIZE:
        return number(v, &a->size, "--size", err);
    case OPT_IS_ZERO:
        a->is_zero = true;
        return true;
    case OPT_SALVAGE:
        a->salvage = true;
        return true;
    case OPT_FLUSH:
        return number(v, &a->flush_every, "--flush-interval", err);
    default:
        return number(v, &a->pattern, "--pattern", err) &&
               (a->pattern <= 255 || fail(err, "--pattern=%s is more than 255", v));
    }
}

/* Letters that mean something else in some commands; *@done: it was one. */
static bool own_option(Args *a, int c, const char *v, bool *done, GError **err)
{
    bool bench = !strcmp(a->cmd, "bench");
    uint64_t n = 0;

    *done = true;
    if (!strcmp(a->cmd, "snapshot") && strchr("lcad", c)) {
        a->mode = (char)c;
        a->mode_arg = v;
    } else if (bench && strchr("cdosS", c)) {
        uint64_t *to = c == 'c'   ? &a->count
                       : c == 'd' ? &a->depth
                       : c == 'o' ? &a->offset
                       : c == 's' ? &a->buffer
                                  : &a->step;
        return number(v, to, "bench", err);
    } else if (bench && c == 'i') {
        return !strcmp(v, "threads") || fail(err, "bench: -i %s is not supported; threads is", v);
    } else if (c == 'r' && strcmp(a->cmd, "check")) {
        a->have_rate = true;
        return number(v, &a->rate, "-r", err);
    } else if (c == 's' && !strcmp(a->cmd, "compare")) {
        a->strict = true;
    } else if (c == 'd' && !strcmp(a->cmd, "commit")) {
        a->keep = true;
    } else if (c == 'm') {
        bool ok = number(v, &n, "-m", err);
        a->workers = (unsigned)MIN(n, 1000);
        return ok && ((n >= 1 && n <= 16) || fail(err, "-m %s is not from 1 to 16", v));
    } else if (c == 'S') {
        bool ok = number(v, &a->sparse, "-S", err);
        return ok && (a->sparse % 512 == 0 || fail(err, "-S %s is not a multiple of 512", v));
    } else {
        *done = false;
    }
    return true;
}

static bool short_option(Args *a, int c, char *v)
{
    const char **text = c == 'f'               ? &a->format
                        : c == 'O'             ? &a->out_format
                        : c == 'b' || c == 'B' ? &a->backing
                        : c == 'F'             ? &a->backing_format
                        : c == 'r'             ? &a->repair
                        : c == 't'             ? &a->cache
                        : c == 'T'             ? &a->src_cache
                        : c == 's' || c == 'l' ? &a->snapshot
                                               : NULL;
    bool *flag = c == 'p'   ? &a->progress
                 : c == 'q' ? &a->quiet
                 : c == 'u' ? &a->unsafe
                 : c == 'U' ? &a->unlocked
                 : c == 'c' ? &a->compress
                 : c == 'C' ? &a->copy_range
                 : c == 'W' ? &a->any_order
                 : c == 'w' ? &a->write
                 : c == 'n' ? &a->no_create
                            : NULL;
    if (text) {
        *text = v;
    } else if (flag) {
        *flag = true;
    } else if (c == 'o') {
        g_ptr_array_add(a->options, v);
    }
    return text || flag || c == 'o';
}

static bool has_long(unsigned cmd, int c)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands[cmd].longs); i++) {
        if (commands[cmd].longs[i] == c) {
            return true;
        }
    }
    return false;
}

bool parse_args(Args *a, int argc, char **argv, GError **err)
{
    unsigned cmd = 0;
    bool done;
    int c;

    while (cmd < G_N_ELEMENTS(commands) && strcmp(commands[cmd].cmd, a->cmd)) {
        cmd++;
    }
    if (cmd == G_N_ELEMENTS(commands)) {
        return fail(err, "there is no command '%s'; rhea-img --help lists them", a->cmd);
    }
    opterr = 0;
    while ((c = getopt_long(argc, argv, commands[cmd].shorts, longs, NULL)) != -1) {
        if (c == ':') {
            return fail(err, "%s: option %s wants a value", a->cmd, argv[optind - 1]);
        }
        if (c == '?' || (c >= OPT_OUTPUT && !has_long(cmd, c))) {
            return fail(err, "%s: there is no option %s", a->cmd, argv[optind - 1]);
        }
        if (c >= OPT_OUTPUT) {
            if (!long_option(a, c, optarg, err)) {
                return false;
            }
            continue;
        }
        if (!own_option(a, c, optarg, &done, err)) {
            return false;
        }
        if (!done && !short_option(a, c, optarg)) {
            return fail(err, "%s: there is no option -%c", a->cmd, c);
        }
    }
    for (; optind < argc; optind++) {
        g_ptr_array_add(a->files, argv[optind]);
    }
    return true;
}
