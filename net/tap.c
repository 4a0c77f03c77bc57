/* Tap devices of the host (linux: Documentation/networking/tuntap.rst). */
#include "core/log.h"
#include "net/net.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct Tap {
    NetPort port;
    int fd;
    NetFd *watch;
    bool vnet; /* frames have a struct virtio_net_hdr in front (IFF_VNET_HDR) */
    char ifname[IFNAMSIZ];
    char *downscript;
} Tap;

/* What the kernel can finish for us, and leave unfinished. */
#define TAP_OFFLOADS (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN)

#define TAP_BURST 64 /* frames read in one turn of the main loop */

static bool tap_receive_todo(NetPort *p, const NetTodo *todo, const uint8_t *buf, size_t len)
{
    Tap *t = (Tap *)p;
    struct virtio_net_hdr hdr = {
        .flags = todo->flags & NET_TODO_CSUM ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
        .gso_type = todo->gso_type,
        .hdr_len = todo->hdr_len,
        .gso_size = todo->gso_size,
        .csum_start = todo->csum_start,
        .csum_offset = todo->csum_off,
    };
    const struct iovec iov[2] = {{&hdr, sizeof(hdr)}, {(void *)buf, len}};

    /* The kernel drops what does not fit, as a wire does. */
    ssize_t n = writev(t->fd, iov + !t->vnet, 1 + t->vnet);

    (void)n;
    return true;
}

static bool tap_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    const NetTodo none = {0};

    return tap_receive_todo(p, &none, buf, len);
}

static void tap_peer_offloads(NetPort *p, unsigned offloads)
{
    unsigned f = 0;

    if (!((Tap *)p)->vnet) {
        return;
    }
    if (offloads & NET_OFFLOAD_CSUM) {
        f = TUN_F_CSUM | (offloads & NET_OFFLOAD_TSO4 ? TUN_F_TSO4 : 0) |
            (offloads & NET_OFFLOAD_TSO6 ? TUN_F_TSO6 : 0);
        f |= (f & (TUN_F_TSO4 | TUN_F_TSO6)) && (offloads & NET_OFFLOAD_ECN) ? TUN_F_TSO_ECN : 0;
    }
    /* A kernel that refuses a bit keeps what was set: nothing unfinished then. */
    if (ioctl(((Tap *)p)->fd, TUNSETOFFLOAD, f) < 0) {
        ioctl(((Tap *)p)->fd, TUNSETOFFLOAD, 0);
    }
}

/* False: the sender has to wait. */
static bool tap_deliver(Tap *t, uint8_t *buf, size_t len)
{
    struct virtio_net_hdr hdr;

    if (!t->vnet) {
        return net_send(&t->port, buf, len);
    }
    if (len <= sizeof(hdr)) {
        return true;
    }
    memcpy(&hdr, buf, sizeof(hdr));
    const NetTodo todo = {
        .flags = (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? NET_TODO_CSUM : 0) |
                 (hdr.flags & VIRTIO_NET_HDR_F_DATA_VALID ? NET_TODO_VALID : 0),
        .gso_type = hdr.gso_type,
        .hdr_len = hdr.hdr_len,
        .gso_size = hdr.gso_size,
        .csum_start = hdr.csum_start,
        .csum_off = hdr.csum_offset,
    };
    return net_send_todo(&t->port, &todo, buf + sizeof(hdr), len - sizeof(hdr));
}

static void tap_readable(void *opaque)
{
    Tap *t = opaque;
    uint8_t buf[sizeof(struct virtio_net_hdr) + NET_MAX_FRAME];

    for (unsigned i = 0; i < TAP_BURST; i++) {
        ssize_t n = read(t->fd, buf, sizeof(buf));
        if (n <= 0) {
            if (n < 0 && errno != EAGAIN && errno != EINTR) {
                net_fd_pause(t->watch, true); /* the interface is gone */
            }
            return;
        }
        if (!tap_deliver(t, buf, (size_t)n)) {
            net_fd_pause(t->watch, true);
            return;
        }
    }
}

static void tap_ready(NetPort *p)
{
    net_fd_pause(((Tap *)p)->watch, false);
}

static bool run_script(const char *script, const char *ifname, GError **err)
{
    const char *argv[] = {script, ifname, NULL};
    g_autoptr(GError) why = NULL;
    int status;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL, NULL,
                      NULL, &status, &why) ||
        !g_spawn_check_wait_status(status, &why)) {
        return fail(err, "tap: script %s failed for %s: %s", script, ifname, why->message);
    }
    return true;
}

static void tap_fini(NetPort *p)
{
    Tap *t = (Tap *)p;

    net_fd_unwatch(t->watch);
    if (t->downscript) {
        GError *err = NULL;
        if (!run_script(t->downscript, t->ifname, &err)) {
            warn_report("%s", err->message);
            g_error_free(err);
        }
        g_free(t->downscript);
    }
    close(t->fd);
}

static const NetPortOps tap_ops = {
    .kind = "tap",
    .receive = tap_receive,
    .receive_todo = tap_receive_todo,
    .peer_offloads = tap_peer_offloads,
    .peer_ready = tap_ready,
    .fini = tap_fini,
};

static int open_tun(const char *ifname, bool vnet, char got[IFNAMSIZ], GError **err)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | (vnet ? IFF_VNET_HDR : 0)};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        fail(err, "tap: cannot open /dev/net/tun: %s; load the module tun, or use -netdev user",
             g_strerror(errno));
        return -1;
    }
    g_strlcpy(r.ifr_name, ifname && *ifname ? ifname : "tap%d", IFNAMSIZ);
    if (ioctl(fd, TUNSETIFF, &r) < 0) {
        int e = errno;
        close(fd);
        fail(err,
             e == EPERM
                 ? "tap: no permission for interface '%s'%s; make it as root for this user with "
                   "`ip tuntap add dev NAME mode tap user USER` and name it with ifname="
                 : "tap: cannot attach to interface '%s': %s",
             r.ifr_name, e == EPERM ? "" : g_strerror(e));
        return -1;
    }
    g_strlcpy(got, r.ifr_name, IFNAMSIZ);
    return fd;
}

/* A descriptor that whoever started us opened. */
static int inherited(Options *o, const char *text, bool *vnet, char got[IFNAMSIZ], GError **err)
{
    struct ifreq r = {0};
    uint64_t fd;

    if (!parse_uint("tap: fd", text, INT32_MAX, &fd, err)) {
        return -1;
    }
    if (fcntl((int)fd, F_GETFL) < 0) {
        fail(err, "tap: fd=%s is not an open descriptor", text);
        return -1;
    }
    if (options_has(o, "ifname") || options_has(o, "script") || options_has(o, "downscript")) {
        fail(err, "tap: ifname, script and downscript do not go with fd=");
        return -1;
    }
    fcntl((int)fd, F_SETFL, fcntl((int)fd, F_GETFL) | O_NONBLOCK);
    if (ioctl((int)fd, TUNGETIFF, &r) == 0) {
        g_strlcpy(got, r.ifr_name, IFNAMSIZ);
        *vnet = r.ifr_flags & IFF_VNET_HDR;
    }
    return (int)fd;
}

/* The path of script @key to run, "" for none; the default one may be missing. */
static bool script_path(Options *o, const char *key, const char *def, char **path, GError **err)
{
    const char *text = options_get(o, key);

    *path = NULL;
    if (text && (!*text || !strcmp(text, "no"))) {
        return true;
    }
    if (text && access(text, X_OK) < 0) {
        return fail(err, "tap: %s=%s cannot be run: %s", key, text, g_strerror(errno));
    }
    if (text || access(def, X_OK) == 0) {
        *path = g_strdup(text ? text : def);
    }
    return true;
}

static NetPort *tap_create(Machine *m, Options *o, GError **err)
{
    static const char *const refused[] = {"br", "helper", "vhost", "vhostfd", "queues", "fds"};
    const char *fd_text = options_get(o, "fd"), *ifname = options_get(o, "ifname");
    g_autofree char *up = NULL, *down = NULL;
    uint64_t sndbuf = 0;
    bool vnet = true, vhost = false;
    char got[IFNAMSIZ] = "?";

    if (!options_get_bool(o, "vnet_hdr", &vnet, err) ||
        !options_get_bool(o, "vhost", &vhost, NULL) ||
        !options_get_size(o, "sndbuf", 1, &sndbuf, err)) {
        return NULL;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (options_has(o, refused[i]) && !(i == 2 && !vhost)) {
            fail(err,
                 "%s tap: %s= is not in this version; put a tap device on the bridge with `ip link "
                 "set TAP master BRIDGE` and name it with ifname=",
                 options_what(o), refused[i]);
            return NULL;
        }
    }
    if (ifname && strlen(ifname) >= IFNAMSIZ) {
        fail(err, "tap: ifname=%s is too long", ifname);
        return NULL;
    }
    if (!fd_text && (!script_path(o, "script", "/etc/rhea-ifup", &up, err) ||
                     !script_path(o, "downscript", "/etc/rhea-ifdown", &down, err))) {
        return NULL;
    }
    int fd = fd_text ? inherited(o, fd_text, &vnet, got, err) : open_tun(ifname, vnet, got, err);
    if (fd < 0) {
        return NULL;
    }
    if (sndbuf && sndbuf < INT32_MAX) {
        int n = (int)sndbuf;
        ioctl(fd, TUNSETSNDBUF, &n);
    }
    int hdr_size = sizeof(struct virtio_net_hdr);
    if (vnet && ioctl(fd, TUNSETVNETHDRSZ, &hdr_size) < 0) {
        fail(err, "tap: cannot set the size of virtio headers: %s; use vnet_hdr=off",
             g_strerror(errno));
        close(fd);
        return NULL;
    }
    if (up && !run_script(up, got, err)) {
        close(fd);
        return NULL;
    }
    Tap *t = g_new0(Tap, 1);
    t->fd = fd;
    t->vnet = vnet;
    t->port.ops = &tap_ops;
    t->port.offloads = vnet ? TAP_OFFLOADS : 0;
    t->downscript = g_steal_pointer(&down);
    g_strlcpy(t->ifname, got, sizeof(t->ifname));
    t->port.info = fd_text ? g_strdup_printf("fd=%d", fd)
                           : g_strdup_printf("ifname=%s,script=%s,downscript=%s", got,
                                             up ? up : "no", t->downscript ? t->downscript : "no");
    t->watch = net_fd_watch(m, fd, tap_readable, t);
    return &t->port;
}

const NetBackendType net_tap_type = {
    .name = "tap",
    .create = tap_create,
    .help = "[ifname=,script=,downscript=,fd=,sndbuf=,vnet_hdr=]: a tap device of the host"};
