/*
 * VNC server: shows the first console to RFB clients and takes their keys and pointer.
 *
 * Machine lock, from the main thread. Encoding runs in threads of its own and without the lock.
 */
#ifndef RHEA_UI_VNC_H
#define RHEA_UI_VNC_H

#include "core/machine.h"
#include "ui/keymap.h"
#include <glib.h>
#include <stdbool.h>

typedef struct VncServer VncServer;

/* @spec as after -vnc: ":1", "host:N", "unix:PATH", then ",to=L", ",share=…", ",password",
 * ",lossy". "none" starts nothing and is no error. @keymap: borrowed; NULL: made for a US keyboard
 * when a client needs it. Servers belong to the machine; vnc_cleanup() ends all. */
bool vnc_start(Machine *m, const char *spec, Keymap *keymap, GError **err);
/* Before machine_free(). Without servers it does nothing. */
void vnc_cleanup(Machine *m);
/* Where the newest server listens ("127.0.0.1:5901", "unix:/path"); NULL without one. */
const char *vnc_address(Machine *m);
/* The password of all servers that ask for one; the first 8 characters count. */
bool vnc_set_password(Machine *m, const char *password, GError **err);
/* Text of `info vnc`; caller frees. */
char *vnc_info(Machine *m);

#endif
