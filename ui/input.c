/* Routing of input events; see input.h. */
#include "ui/input.h"
#include "core/log.h"
#include "ui/keys.h"
#include <stdlib.h>
#include <string.h>

struct InputSlot {
    Machine *m;
    const InputHandler *h;
    void *opaque;
    unsigned number;
};

#define MAX_HELD 16

/* Of one machine; made with the first handler, freed with the last one. */
typedef struct InputRouter InputRouter;
struct InputRouter {
    GList *slots; /* of InputSlot*, the active one first */
    unsigned next_number, leds;
    unsigned held[MAX_HELD], n_held; /* by input_send_keys() */
    Timer release;
};

static InputSlot *active(Machine *m, unsigned kinds)
{
    for (GList *l = m->input ? m->input->slots : NULL; l; l = l->next) {
        InputSlot *s = l->data;
        if (s->h->kinds & kinds) {
            return s;
        }
    }
    return NULL;
}

static void release_keys(void *opaque)
{
    Machine *m = opaque;
    InputRouter *r = m->input;

    while (r && r->n_held) {
        input_key(m, r->held[--r->n_held], false);
    }
}

InputSlot *input_add(Machine *m, const InputHandler *h, void *opaque)
{
    InputSlot *s = g_new(InputSlot, 1);

    if (!m->input) {
        m->input = g_new0(InputRouter, 1);
        if (m->virtual_clock) {
            timer_init(&m->input->release, m->virtual_clock, release_keys, m);
        }
    }
    *s = (InputSlot){.m = m, .h = h, .opaque = opaque, .number = m->input->next_number++};
    m->input->slots = g_list_prepend(m->input->slots, s);
    return s;
}

void input_remove(InputSlot *slot)
{
    if (!slot) {
        return;
    }
    Machine *m = slot->m;
    InputRouter *r = m->input;

    r->slots = g_list_remove(r->slots, slot);
    g_free(slot);
    if (!r->slots) {
        if (r->release.clock) {
            timer_del(&r->release);
        }
        g_free(r);
        m->input = NULL;
    }
}

void input_activate(InputSlot *slot)
{
    InputRouter *r = slot->m->input;

    r->slots = g_list_remove(r->slots, slot);
    r->slots = g_list_prepend(r->slots, slot);
}

void input_deactivate(InputSlot *slot)
{
    InputRouter *r = slot->m->input;

    r->slots = g_list_remove(r->slots, slot);
    r->slots = g_list_append(r->slots, slot);
}

char *input_info(Machine *m)
{
    GString *out = g_string_new(NULL);
    InputSlot *cur = active(m, INPUT_REL | INPUT_ABS);

    for (GList *l = m->input ? m->input->slots : NULL; l; l = l->next) {
        InputSlot *s = l->data;
        if (s->h->kinds & (INPUT_REL | INPUT_ABS)) {
            g_string_append_printf(out, "%c Mouse #%u: %s%s\n", s == cur ? '*' : ' ', s->number,
                                   s->h->name, s->h->kinds & INPUT_ABS ? " (absolute)" : "");
        }
    }
    if (!out->len) {
        g_string_append(out, "No mouse devices connected\n");
    }
    return g_string_free(out, FALSE);
}

bool input_select(Machine *m, unsigned index, GError **err)
{
    for (GList *l = m->input ? m->input->slots : NULL; l; l = l->next) {
        InputSlot *s = l->data;
        if (s->number == index && (s->h->kinds & (INPUT_REL | INPUT_ABS))) {
            input_activate(s);
            return true;
        }
    }
    return fail(err, "there is no mouse %u; see 'info mice'", index);
}

void input_key(Machine *m, unsigned code, bool down)
{
    InputSlot *s = active(m, INPUT_KEYS);

    if (s && s->h->key) {
        s->h->key(s->opaque, code, down);
    }
}

void input_rel(Machine *m, int dx, int dy)
{
    InputSlot *s = active(m, INPUT_REL | INPUT_ABS);

    if (s && !(s->h->kinds & INPUT_REL)) {
        s = active(m, INPUT_REL);
    }
    if (s && s->h->rel) {
        s->h->rel(s->opaque, dx, dy);
    }
}

void input_abs(Machine *m, int x, int y)
{
    InputSlot *s = active(m, INPUT_ABS);

    if (s && s->h->abs) {
        s->h->abs(s->opaque, CLAMP(x, 0, INPUT_ABS_MAX), CLAMP(y, 0, INPUT_ABS_MAX));
    }
}

void input_button(Machine *m, unsigned button, bool down)
{
    InputSlot *s = active(m, INPUT_REL | INPUT_ABS);

    if (s && s->h->button && button < BUTTON_COUNT) {
        s->h->button(s->opaque, button, down);
    }
}

void input_wheel(Machine *m, int dz)
{
    InputSlot *s = active(m, INPUT_REL | INPUT_ABS);

    if (s && s->h->wheel) {
        s->h->wheel(s->opaque, dz);
    }
}

void input_sync(Machine *m)
{
    InputSlot *s = active(m, INPUT_REL | INPUT_ABS);

    if (s && s->h->sync) {
        s->h->sync(s->opaque);
    }
}

bool input_is_abs(Machine *m)
{
    InputSlot *s = active(m, INPUT_REL | INPUT_ABS);

    return s && (s->h->kinds & INPUT_ABS);
}

void input_set_leds(Machine *m, unsigned leds)
{
    if (m && m->input) {
        m->input->leds = leds;
    }
}

unsigned input_leds(Machine *m)
{
    return m->input ? m->input->leds : 0;
}

unsigned input_key_code(const char *name)
{
    if (g_str_has_prefix(name, "0x")) {
        char *end;
        unsigned long scan = strtoul(name + 2, &end, 16);

        if (*end || end == name + 2) {
            return 0;
        }
        /* 0x80 added to a code is the old way to write the prefix. */
        if (scan >= 0x80 && scan <= 0xff) {
            scan = 0xe000 | (scan & 0x7f);
        }
        for (const KeyInfo *k = key_table; k->code; k++) {
            if (k->set1 == scan) {
                return k->code;
            }
        }
        return 0;
    }
    for (const KeyInfo *k = key_table; k->code; k++) {
        if (!strcmp(k->name, name) || (k->alias && !strcmp(k->alias, name))) {
            return k->code;
        }
    }
    return 0;
}

const char *input_key_name(unsigned code)
{
    const KeyInfo *k = key_find(code);

    return k ? k->name : NULL;
}

const char *input_key_name_at(unsigned i)
{
    const KeyInfo *k = key_table;

    while (i && k->code) {
        i--;
        k++;
    }
    return k->name;
}

unsigned input_scancode1(unsigned code)
{
    const KeyInfo *k = key_find(code);

    return k ? k->set1 : 0;
}

bool input_send_keys(Machine *m, const char *keys, unsigned hold_ms, GError **err)
{
    g_auto(GStrv) names = g_strsplit(keys, "-", -1);
    unsigned codes[MAX_HELD], n = 0;

    for (char **p = names; *p; p++) {
        const char *name = *p;

        /* "-" itself and old spellings. */
        if (!*name) {
            return fail(err, "'%s': a key name is missing; the key '-' is called minus", keys);
        }
        if (n == MAX_HELD) {
            return fail(err, "'%s': at most %d keys can be pressed together", keys, MAX_HELD);
        }
        codes[n] = input_key_code(!strcmp(name, "<") ? "less" : name);
        if (!codes[n]) {
            return fail(err, "'%s' is no key name", name);
        }
        n++;
    }
    if (!n) {
        return fail(err, "no key was named");
    }
    if (!active(m, INPUT_KEYS)) {
        return fail(err, "the machine has no keyboard");
    }
    release_keys(m);
    for (unsigned i = 0; i < n; i++) {
        input_key(m, codes[i], true);
        m->input->held[m->input->n_held++] = codes[i];
    }
    if (m->virtual_clock && hold_ms) {
        timer_set(&m->input->release, clock_now(m->virtual_clock) + hold_ms * (NS_PER_SEC / 1000));
    } else {
        release_keys(m);
    }
    return true;
}
