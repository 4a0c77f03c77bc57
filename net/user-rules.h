/*
 * Texts of user mode options: addresses and forwarding rules. Private to net/.
 */
#ifndef RHEA_NET_USER_RULES_H
#define RHEA_NET_USER_RULES_H

#include "core/option.h"
#include <glib.h>
#include <netinet/in.h>
#include <stdbool.h>

struct SlirpConfig;

typedef struct NetForward {
    bool udp;
    struct in_addr host, guest; /* 0: any, the default guest */
    int host_port, guest_port;
} NetForward;

typedef struct NetGuestForward {
    struct in_addr server;
    int port;
    char *command; /* g_free */
} NetGuestForward;

/* "tcp:[HOST]:PORT-[GUEST]:PORT"; @host_only: what is before the "-". */
bool net_parse_hostfwd(const char *text, bool host_only, NetForward *f, GError **err);
/* "tcp:SERVER:PORT-cmd:COMMAND". */
bool net_parse_guestfwd(const char *text, NetGuestForward *f, GError **err);
/* net=, host=, dhcpstart=, dns=, ipv4=, ipv6=, ipv6-…, with defaults from 10.0.2.0/24. */
bool net_parse_user_addresses(Options *o, struct SlirpConfig *c, GError **err);

#endif
