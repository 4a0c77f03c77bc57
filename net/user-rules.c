/* Texts of user mode options: see user-rules.h. */
#include "config.h"
#ifdef HAVE_SLIRP
#include "core/log.h"
#include "net/user-rules.h"
#include <arpa/inet.h>
#include <slirp/libslirp.h>
#include <string.h>

/* Up to @end in @*p into a fresh string, and over it; NULL: it is not there. */
static char *field(const char **p, char end)
{
    const char *e = strchr(*p, end);
    char *s = e ? g_strndup(*p, e - *p) : NULL;

    *p = e ? e + 1 : *p;
    return s;
}

static bool port_number(const char *what, const char *text, bool zero_ok, int *port, GError **err)
{
    uint64_t n;

    if (!text || !parse_uint(what, text, 65535, &n, NULL) || (!n && !zero_ok)) {
        return fail(err, "%s: '%s' is no port number", what, text ? text : "");
    }
    *port = (int)n;
    return true;
}

static bool address(const char *what, const char *text, struct in_addr *a, GError **err)
{
    a->s_addr = 0;
    return !text || !*text || inet_pton(AF_INET, text, a) == 1 ||
           fail(err, "%s: '%s' is no IPv4 address", what, text);
}

static bool protocol(const char *what, const char **p, bool *udp, GError **err)
{
    g_autofree char *name = field(p, ':');

    *udp = name && !strcmp(name, "udp");
    return (name && (*udp || !*name || !strcmp(name, "tcp"))) ||
           fail(err, "%s: it must start with tcp: or udp:", what);
}

bool net_parse_hostfwd(const char *text, bool host_only, NetForward *f, GError **err)
{
    g_autofree char *what = g_strdup_printf("hostfwd=%s", text);
    const char *p = text;

    memset(f, 0, sizeof(*f));
    if (!protocol(what, &p, &f->udp, err)) {
        return false;
    }
    g_autofree char *host = field(&p, ':');
    if (!host || !address(what, host, &f->host, err)) {
        return host ? false : fail(err, "%s: expected PROTOCOL:[HOST]:PORT-[GUEST]:PORT", what);
    }
    if (host_only) {
        g_autofree char *port = g_strndup(p, strcspn(p, "-"));
        return port_number(what, port, false, &f->host_port, err);
    }
    g_autofree char *host_port = field(&p, '-');
    g_autofree char *guest = host_port ? field(&p, ':') : NULL;
    if (!guest) {
        return fail(err, "%s: expected PROTOCOL:[HOST]:PORT-[GUEST]:PORT", what);
    }
    return port_number(what, host_port, true, &f->host_port, err) &&
           address(what, guest, &f->guest, err) && port_number(what, p, false, &f->guest_port, err);
}

bool net_parse_guestfwd(const char *text, NetGuestForward *f, GError **err)
{
    g_autofree char *what = g_strdup_printf("guestfwd=%s", text);
    const char *p = text;
    bool udp;

    memset(f, 0, sizeof(*f));
    if (!protocol(what, &p, &udp, err)) {
        return false;
    }
    g_autofree char *server = field(&p, ':');
    g_autofree char *port = server ? field(&p, '-') : NULL;
    if (udp || !port) {
        return fail(err, "%s: expected tcp:SERVER:PORT-cmd:COMMAND", what);
    }
    if (!address(what, server, &f->server, err) || !port_number(what, port, false, &f->port, err)) {
        return false;
    }
    if (!g_str_has_prefix(p, "cmd:") || !p[4]) {
        return fail(err, "%s: only cmd:COMMAND can stand behind the '-' in this version", what);
    }
    f->command = g_strdup(p + 4);
    return true;
}

/* "10.0.2.0/24", "10.0.2.0/255.255.255.0", "10.0.2.0" (/24 unless its class says more). */
static bool network(const char *what, const char *text, struct in_addr *net, struct in_addr *mask,
                    GError **err)
{
    const char *slash = strchr(text, '/');
    g_autofree char *addr = slash ? g_strndup(text, slash - text) : g_strdup(text);
    uint64_t bits = 24;
    uint32_t m;

    if (inet_pton(AF_INET, addr, net) != 1) {
        return fail(err, "%s: net=%s is no IPv4 network such as 10.0.2.0/24", what, text);
    }
    if (slash && strchr(slash, '.')) {
        if (inet_pton(AF_INET, slash + 1, mask) != 1) {
            return fail(err, "%s: net=%s has no good mask", what, text);
        }
        m = ntohl(mask->s_addr);
        if ((~m & (~m + 1)) || m == UINT32_MAX) {
            return fail(err, "%s: net=%s has no good mask", what, text);
        }
    } else {
        if (slash && (!parse_uint(what, slash + 1, 30, &bits, NULL) || bits < 4)) {
            return fail(err, "%s: net=%s: the prefix must be 4 to 30 bits", what, text);
        }
        m = ~0u << (32 - bits);
        mask->s_addr = htonl(m);
    }
    net->s_addr &= mask->s_addr;
    return true;
}

/* Option @key inside the network, or its default: host part @def. */
static bool member(Options *o, const char *key, const SlirpConfig *c, uint32_t def,
                   struct in_addr *a, GError **err)
{
    const char *text = options_get(o, key);

    a->s_addr = c->vnetwork.s_addr | htonl(def & ~ntohl(c->vnetmask.s_addr));
    if (!text) {
        return true;
    }
    if (inet_pton(AF_INET, text, a) != 1) {
        return fail(err, "%s user: %s=%s is no IPv4 address", options_what(o), key, text);
    }
    if ((a->s_addr & c->vnetmask.s_addr) != c->vnetwork.s_addr) {
        return fail(err, "%s user: %s=%s is not in the network", options_what(o), key, text);
    }
    return true;
}

static bool addresses6(Options *o, SlirpConfig *c, GError **err)
{
    const char *prefix = options_get(o, "ipv6-prefix"), *net = options_get(o, "ipv6-net");
    const char *host = options_get(o, "ipv6-host"), *dns = options_get(o, "ipv6-dns");
    uint64_t len = 64;

    g_autofree char *addr = g_strdup(net ? net : prefix ? prefix : "fec0::");
    char *slash = strchr(addr, '/');
    if (slash) {
        *slash = 0;
        if (!parse_uint("ipv6-net", slash + 1, 126, &len, err)) {
            return false;
        }
    }
    if (!options_get_uint(o, "ipv6-prefixlen", 126, &len, err)) {
        return false;
    }
    if (inet_pton(AF_INET6, addr, &c->vprefix_addr6) != 1) {
        return fail(err, "%s user: '%s' is no IPv6 prefix", options_what(o), addr);
    }
    c->vprefix_len = (uint8_t)len;
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    if (host && inet_pton(AF_INET6, host, &c->vhost6) != 1) {
        return fail(err, "%s user: ipv6-host=%s is no IPv6 address", options_what(o), host);
    }
    if (dns && inet_pton(AF_INET6, dns, &c->vnameserver6) != 1) {
        return fail(err, "%s user: ipv6-dns=%s is no IPv6 address", options_what(o), dns);
    }
    return true;
}

bool net_parse_user_addresses(Options *o, struct SlirpConfig *c, GError **err)
{
    const char *net = options_get(o, "net");
    bool v4 = true, v6 = true;

    /* Naming one family alone switches the other off. */
    if (!options_get_bool(o, "ipv4", &v4, err) || !options_get_bool(o, "ipv6", &v6, err)) {
        return false;
    }
    if (options_has(o, "ipv4") && !options_has(o, "ipv6")) {
        v6 = !v4;
    } else if (options_has(o, "ipv6") && !options_has(o, "ipv4") && v6) {
        v4 = false;
    }
    if (!v4 && !v6) {
        return fail(err, "%s user: ipv4 and ipv6 are both off", options_what(o));
    }
    c->in_enabled = v4;
    c->in6_enabled = v6;
    if (!network(options_what(o), net ? net : "10.0.2.0/24", &c->vnetwork, &c->vnetmask, err) ||
        !member(o, "host", c, 2, &c->vhost, err) ||
        !member(o, "dhcpstart", c, 15, &c->vdhcp_start, err) ||
        !member(o, "dns", c, 3, &c->vnameserver, err) || !addresses6(o, c, err)) {
        return false;
    }
    if (c->vhost.s_addr == c->vnameserver.s_addr) {
        return fail(err, "%s user: host and dns must be different addresses", options_what(o));
    }
    return true;
}
#endif
