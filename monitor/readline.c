/* Line editing; see readline.h. */
#include "monitor/readline.h"
#include <glib.h>
#include <string.h>

#define LINE_MAX_LEN 4095
#define HISTORY_MAX 100

typedef enum { ESC_NONE, ESC_SEEN, ESC_CSI, ESC_SS3 } EscState;

struct Readline {
    const ReadlineOps *ops;
    void *opaque;
    char *prompt;
    GString *buf;
    size_t pos; /* of the cursor */
    EscState esc;
    unsigned esc_arg;
    GPtrArray *history;
    guint hist_pos; /* == history->len: the line being typed */
    char *typed;    /* that line, while history is shown */
    bool last_cr;
};

Readline *readline_new(const char *prompt, const ReadlineOps *ops, void *opaque)
{
    Readline *rl = g_new0(Readline, 1);

    rl->ops = ops;
    rl->opaque = opaque;
    rl->prompt = g_strdup(prompt);
    rl->buf = g_string_new(NULL);
    rl->history = g_ptr_array_new_with_free_func(g_free);
    return rl;
}

void readline_free(Readline *rl)
{
    if (rl) {
        g_string_free(rl->buf, TRUE);
        g_ptr_array_unref(rl->history);
        g_free(rl->prompt);
        g_free(rl->typed);
        g_free(rl);
    }
}

static void print(Readline *rl, const char *text)
{
    rl->ops->print(rl->opaque, text);
}

static void back(Readline *rl, size_t n)
{
    g_autofree char *s = g_strnfill(n, '\b');

    print(rl, s);
}

/* Print from the cursor to the end, erase what is right of it, go back to the cursor. */
static void redraw_tail(Readline *rl)
{
    print(rl, rl->buf->str + rl->pos);
    print(rl, "\033[K");
    back(rl, rl->buf->len - rl->pos);
}

void readline_show(Readline *rl)
{
    print(rl, rl->prompt);
    print(rl, rl->buf->str);
    back(rl, rl->buf->len - rl->pos);
}

void readline_restart(Readline *rl)
{
    g_string_truncate(rl->buf, 0);
    rl->pos = 0;
    rl->esc = ESC_NONE;
    rl->hist_pos = rl->history->len;
    g_clear_pointer(&rl->typed, g_free);
}

static void move_to(Readline *rl, size_t pos)
{
    if (pos < rl->pos) {
        back(rl, rl->pos - pos);
    } else if (pos > rl->pos) {
        g_autofree char *s = g_strndup(rl->buf->str + rl->pos, pos - rl->pos);
        print(rl, s);
    }
    rl->pos = pos;
}

static void insert(Readline *rl, const char *text)
{
    size_t n = strlen(text);

    if (rl->buf->len + n > LINE_MAX_LEN) {
        return;
    }
    g_string_insert(rl->buf, rl->pos, text);
    print(rl, text);
    rl->pos += n;
    if (rl->pos < rl->buf->len) {
        redraw_tail(rl);
    }
}

static void erase(Readline *rl, size_t from, size_t to)
{
    if (from < to) {
        move_to(rl, from);
        g_string_erase(rl->buf, from, to - from);
        redraw_tail(rl);
    }
}

static void replace(Readline *rl, const char *text)
{
    move_to(rl, 0);
    g_string_assign(rl->buf, text);
    print(rl, text);
    print(rl, "\033[K");
    rl->pos = rl->buf->len;
}

static void history_step(Readline *rl, int step)
{
    if ((step < 0 && rl->hist_pos == 0) || (step > 0 && rl->hist_pos >= rl->history->len)) {
        return;
    }
    if (rl->hist_pos == rl->history->len) {
        g_free(rl->typed);
        rl->typed = g_strdup(rl->buf->str);
    }
    rl->hist_pos += step;
    replace(rl, rl->hist_pos == rl->history->len ? rl->typed
                                                 : (char *)rl->history->pdata[rl->hist_pos]);
}

static void history_add(Readline *rl, const char *line)
{
    if (!*line) {
        return;
    }
    for (guint i = 0; i < rl->history->len; i++) {
        if (!strcmp(rl->history->pdata[i], line)) {
            g_ptr_array_remove_index(rl->history, i);
            break;
        }
    }
    g_ptr_array_add(rl->history, g_strdup(line));
    if (rl->history->len > HISTORY_MAX) {
        g_ptr_array_remove_index(rl->history, 0);
    }
}

static size_t word_left(const Readline *rl)
{
    size_t p = rl->pos;

    while (p && rl->buf->str[p - 1] == ' ') {
        p--;
    }
    while (p && rl->buf->str[p - 1] != ' ') {
        p--;
    }
    return p;
}

static void list_completions(Readline *rl, char **list)
{
    print(rl, "\n");
    for (unsigned i = 0; list[i]; i++) {
        g_autofree char *s = g_strdup_printf("%-20s%s", list[i], i % 4 == 3 ? "\n" : "");
        print(rl, s);
    }
    print(rl, "\n");
    readline_show(rl);
}

static void complete(Readline *rl)
{
    g_autofree char *head = g_strndup(rl->buf->str, rl->pos);
    g_auto(GStrv) list = rl->ops->complete ? rl->ops->complete(rl->opaque, head) : NULL;

    if (!list || !list[0]) {
        return;
    }
    /* What all of them begin with. */
    size_t common = strlen(list[0]);
    for (unsigned i = 1; list[i]; i++) {
        size_t n = 0;
        while (n < common && list[i][n] == list[0][n]) {
            n++;
        }
        common = n;
    }
    size_t have = 0;
    while (have < rl->pos && rl->buf->str[rl->pos - have - 1] != ' ' &&
           rl->buf->str[rl->pos - have - 1] != '-') {
        have++;
    }
    /* Names may hold dashes themselves: take the longest tail that fits. */
    size_t whole = rl->pos - word_left(rl);
    if (whole <= common && !strncmp(rl->buf->str + rl->pos - whole, list[0], whole)) {
        have = whole;
    }
    if (common > have) {
        g_autofree char *rest = g_strndup(list[0] + have, common - have);
        insert(rl, rest);
    }
    if (!list[1]) {
        insert(rl, " ");
    } else if (common <= have) {
        list_completions(rl, list);
    }
}

static void enter(Readline *rl)
{
    g_autofree char *line = g_strdup(rl->buf->str);

    print(rl, "\n");
    history_add(rl, line);
    readline_restart(rl);
    rl->ops->line(rl->opaque, line);
}

static void control(Readline *rl, uint8_t c)
{
    switch (c) {
    case 1: /* Ctrl-A */
        move_to(rl, 0);
        break;
    case 2: /* Ctrl-B */
        move_to(rl, rl->pos ? rl->pos - 1 : 0);
        break;
    case 3: /* Ctrl-C */
        print(rl, "^C\n");
        readline_restart(rl);
        readline_show(rl);
        break;
    case 4: /* Ctrl-D */
        erase(rl, rl->pos, MIN(rl->pos + 1, rl->buf->len));
        break;
    case 5: /* Ctrl-E */
        move_to(rl, rl->buf->len);
        break;
    case 6: /* Ctrl-F */
        move_to(rl, MIN(rl->pos + 1, rl->buf->len));
        break;
    case 8:
    case 127:
        erase(rl, rl->pos ? rl->pos - 1 : 0, rl->pos);
        break;
    case 9:
        complete(rl);
        break;
    case 11: /* Ctrl-K */
        erase(rl, rl->pos, rl->buf->len);
        break;
    case 12: /* Ctrl-L */
        print(rl, "\033[H\033[2J");
        readline_show(rl);
        break;
    case 14: /* Ctrl-N */
        history_step(rl, 1);
        break;
    case 16: /* Ctrl-P */
        history_step(rl, -1);
        break;
    case 21: /* Ctrl-U */
        erase(rl, 0, rl->pos);
        break;
    case 23: /* Ctrl-W */
        erase(rl, word_left(rl), rl->pos);
        break;
    default:
        break;
    }
}

/* The last byte of "ESC [ n ~" and friends. */
static void escape_end(Readline *rl, uint8_t c)
{
    static const uint8_t by_number[] = {0, 1, 0, 4, 5, 0, 0, 1, 5}; /* 1 home 3 del 4 end 7 8 */
    static const struct {
        char c;
        uint8_t ctrl;
    } by_letter[] = {{'A', 16}, {'B', 14}, {'C', 6}, {'D', 2}, {'H', 1}, {'F', 5}};

    if (c == '~') {
        if (rl->esc_arg < sizeof(by_number) && by_number[rl->esc_arg]) {
            control(rl, by_number[rl->esc_arg]);
        }
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(by_letter); i++) {
        if (by_letter[i].c == c) {
            control(rl, by_letter[i].ctrl);
        }
    }
}

void readline_input(Readline *rl, uint8_t c)
{
    bool last_cr = rl->last_cr;

    rl->last_cr = false;
    switch (rl->esc) {
    case ESC_SEEN:
        rl->esc = c == '[' ? ESC_CSI : c == 'O' ? ESC_SS3 : ESC_NONE;
        rl->esc_arg = 0;
        return;
    case ESC_CSI:
        if (c >= '0' && c <= '9') {
            rl->esc_arg = MIN(rl->esc_arg * 10 + (c - '0'), 1000);
            return;
        }
        if (c == ';') {
            return;
        }
        /* fall through */
    case ESC_SS3:
        rl->esc = ESC_NONE;
        escape_end(rl, c);
        return;
    default:
        break;
    }
    if (c == 27) {
        rl->esc = ESC_SEEN;
    } else if (c == '\r' || c == '\n') {
        /* CR LF is one end of line. */
        rl->last_cr = c == '\r';
        if (!(c == '\n' && last_cr)) {
            enter(rl);
        }
    } else if (c < 32 || c == 127) {
        control(rl, c);
    } else {
        char text[2] = {c, 0};
        insert(rl, text);
    }
}
