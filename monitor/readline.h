/*
 * Line editing on a byte stream: cursor movement, history, completion. No terminal knowledge
 * beyond ANSI's "erase to end of line" and backspace.
 */
#ifndef RHEA_MONITOR_READLINE_H
#define RHEA_MONITOR_READLINE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Readline Readline;

typedef struct ReadlineOps {
    void (*print)(void *opaque, const char *text);      /* to the terminal */
    void (*line)(void *opaque, const char *line);       /* a line was entered */
    char **(*complete)(void *opaque, const char *line); /* strv, see hmp_complete() */
} ReadlineOps;

Readline *readline_new(const char *prompt, const ReadlineOps *ops, void *opaque);
void readline_free(Readline *rl);
void readline_input(Readline *rl, uint8_t c);
/* Print the prompt and what was typed so far. */
void readline_show(Readline *rl);
/* Forget what was typed. */
void readline_restart(Readline *rl);

#endif
