/* rhea-img: makes, looks at, checks, copies and converts disk images; see tools/img/. */
#include "core/log.h"
#include "tools/img/img.h"
#include <locale.h>
#include <stdio.h>
#include <string.h>

static void usage(void)
{
    puts("Usage: rhea-img COMMAND [OPTION]… FILE…\n"
         "  amend [-f FORMAT] -o OPTIONS FILE\n"
         "  bench [-c COUNT] [-d DEPTH] [-f FORMAT] [--flush-interval=N] [-n] [-o OFFSET]\n"
         "        [--pattern=N] [-s SIZE] [-S STEP] [-t CACHE] [-w] [-U] FILE\n"
         "  check [-f FORMAT] [-r leaks|all] [-q] [-U] [--output=human|json] FILE\n"
         "  commit [-f FORMAT] [-b BASE] [-d] [-r RATE] [-t CACHE] [-p] [-q] FILE\n"
         "  compare [-f FORMAT] [-F FORMAT] [-s] [-p] [-q] [-U] FILE FILE\n"
         "  convert [-f FORMAT] [-O FORMAT] [-B BACKING [-F FORMAT]] [-o OPTIONS] [-l SNAPSHOT]\n"
         "          [-S SIZE] [-m WORKERS] [-W] [-c] [-C] [-n [--target-is-zero]] [-r RATE]\n"
         "          [-t CACHE] [-T CACHE] [--salvage] [-p] [-q] [-U] FILE… OUTPUT\n"
         "  create [-f FORMAT] [-o OPTIONS] [-b FILE [-F FORMAT]] [-u] [-q] FILE [SIZE]\n"
         "  dd [-f FORMAT] [-O FORMAT] [bs=SIZE] [count=N] [skip=N] if=FILE of=FILE\n"
         "  info [-f FORMAT] [--backing-chain] [-U] [--output=human|json] FILE\n"
         "  map [-f FORMAT] [--start-offset=N] [--max-length=N] [-U] [--output=human|json] FILE\n"
         "  measure [-O FORMAT] [-o OPTIONS] [--output=human|json] [--size=N | [-f FORMAT] FILE]\n"
         "  rebase [-f FORMAT] [-u] -b FILE [-F FORMAT] [-p] [-q] FILE\n"
         "  resize [-f FORMAT] [--shrink] [--preallocation=MODE] [-q] FILE [+|-]SIZE\n"
         "  snapshot [-l | -c NAME | -a NAME | -d NAME] FILE\n"
         "Formats: raw, qcow2, vmdk, vdi, vpc, qed; `create -f FORMAT -o help` lists options.\n"
         "--image-opts takes key=value,… for a file name; json:{…} is one, too.");
}

static bool run(Args *a, int *status, GError **err)
{
    static const struct {
        const char *name;
        bool (*f)(Args *a, GError **err);
    } plain[] = {{"create", cmd_create}, {"info", cmd_info},     {"convert", cmd_convert},
                 {"resize", cmd_resize}, {"map", cmd_map},       {"snapshot", cmd_snapshot},
                 {"commit", cmd_commit}, {"rebase", cmd_rebase}, {"measure", cmd_measure},
                 {"amend", cmd_amend},   {"bench", cmd_bench},   {"dd", cmd_dd}};
    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (!strcmp(a->cmd, plain[i].name)) {
            return plain[i].f(a, err);
        }
    }
    return !strcmp(a->cmd, "check") ? cmd_check(a, status, err) : cmd_compare(a, status, err);
}

int main(int argc, char **argv)
{
    Args a = {.options = g_ptr_array_new(),
              .files = g_ptr_array_new(),
              .sparse = 4096,
              .began = g_get_monotonic_time()};
    GError *err = NULL;
    int status = 0;

    setlocale(LC_TIME, "");
    g_set_prgname("rhea-img");
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        usage();
        return argc < 2;
    }
    a.cmd = argv[1];
    bool ok = parse_args(&a, argc - 1, argv + 1, &err) && run(&a, &status, &err);
    g_ptr_array_free(a.options, TRUE);
    g_ptr_array_free(a.files, TRUE);
    if (!ok) {
        error_report("%s", err->message);
        g_error_free(err);
        return status ? status : 1;
    }
    return status;
}
