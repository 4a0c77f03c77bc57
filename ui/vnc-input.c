/* VNC: keys and pointer of a client. */
#include "ui/input.h"
#include "ui/keys.h"
#include "ui/vnc-internal.h"

#define REL_ORIGIN 0x7fff /* of relative motion: the community's RFB protocol text */

enum {
    SYM_SHIFT_L = 0xffe1,
    SYM_SHIFT_R = 0xffe2,
    SYM_ALT_GR = 0xfe03 /* ISO_Level3_Shift */
};

/* Extended key events carry codes of set 1, with 0x80 for the prefix. */
static unsigned code_of_xt(unsigned xt)
{
    unsigned scan = xt & 0x80 ? 0xe000 | (xt & 0x7f) : xt;

    if (xt == 0xc6) {
        return KEYCODE_PAUSE;
    }
    if (xt == 0x54) {
        return KEYCODE_SYSRQ;
    }
    for (const KeyInfo *k = key_table; xt && xt <= 0xff && k->code; k++) {
        if (k->set1 == scan) {
            return k->code;
        }
    }
    return 0;
}

void vnc_key_event(VncClient *c, uint32_t sym, unsigned xt_code, bool down)
{
    unsigned code = 0, i = 0;

    if (sym == SYM_SHIFT_L || sym == SYM_SHIFT_R) {
        c->shift = down;
    } else if (sym == SYM_ALT_GR) {
        c->altgr = down;
    }
    if (!xt_code) {
        /* The symbol of a key may be another one when it is let go: Shift went up first. */
        while (i < c->n_held && c->held[i].sym != sym) {
            i++;
        }
        code = i < c->n_held ? c->held[i].code
                             : keymap_code(vnc_server_keymap(c->s), sym, c->shift, c->altgr);
    } else {
        code = code_of_xt(xt_code);
        while (i < c->n_held && c->held[i].code != code) {
            i++;
        }
    }
    if (!code || (i == c->n_held && (!down || i == VNC_KEYS_HELD))) {
        return;
    }
    if (down && i == c->n_held) {
        c->held[c->n_held++] = (VncKey){sym, code};
    } else if (!down) {
        c->held[i] = c->held[--c->n_held];
    }
    input_key(c->s->m, code, down);
}

void vnc_client_release_keys(VncClient *c)
{
    while (c->n_held) {
        input_key(c->s->m, c->held[--c->n_held].code, false);
    }
    if (c->buttons) {
        vnc_pointer_event(c, 0, c->last_x, c->last_y);
    }
}

void vnc_pointer_event(VncClient *c, unsigned mask, int x, int y)
{
    static const uint8_t buttons[] = {BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT};
    Machine *m = c->s->m;
    unsigned changed = mask ^ c->buttons;

    if (input_is_abs(m)) {
        input_abs(m, (int64_t)x * INPUT_ABS_MAX / MAX(c->w - 1, 1),
                  (int64_t)y * INPUT_ABS_MAX / MAX(c->h - 1, 1));
    } else if (c->can_pointer_type && !c->abs) {
        input_rel(m, x - REL_ORIGIN, y - REL_ORIGIN);
        x = y = REL_ORIGIN; /* where the next motion starts */
    } else {
        input_rel(m, x - c->last_x, y - c->last_y);
    }
    c->last_x = x;
    c->last_y = y;
    for (unsigned i = 0; i < G_N_ELEMENTS(buttons); i++) {
        if (changed & 1 << i) {
            input_button(m, buttons[i], mask >> i & 1);
        }
    }
    /* A step of the wheel is a press of button 4 or 5. */
    if (changed & mask & 0x18) {
        input_wheel(m, mask & 8 ? -1 : 1);
    }
    if (changed & 0x80) {
        input_button(m, BUTTON_SIDE, mask >> 7 & 1);
    }
    c->buttons = mask;
    input_sync(m);
}
