/*
 * Networks: ports that carry Ethernet frames. A port is a network card's (made by a device) or a
 * back end's (made by -netdev); two ports are peers and what one sends the other receives. Frames
 * are whole, without preamble and checksum (FCS).
 *
 * Everything here is called under the machine lock, and so are the callbacks; they come from the
 * main loop or from the vCPU whose access made a card send. Nothing blocks: what a port cannot
 * take now waits in its queue up to a limit, then is lost as on a real wire.
 */
#ifndef RHEA_NET_NET_H
#define RHEA_NET_NET_H

#include "core/machine.h"
#include "core/option.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_MAX_FRAME 65550 /* bytes that any port may send */
#define NET_QUEUE_FRAMES 1024
#define NET_MIN_FRAME 60

typedef struct NetPort NetPort;

/* What is left to do of a frame; struct virtio_net_hdr of VIRTIO 1.2, 5.1.6, in host byte order. */
typedef struct NetTodo {
    uint8_t flags;    /* NET_TODO_CSUM: the checksum from csum_start on, at csum_start + csum_off;
                       * NET_TODO_VALID: it was checked */
    uint8_t gso_type; /* NET_GSO_*: to be cut into segments of gso_size bytes of payload */
    uint16_t hdr_len, gso_size, csum_start, csum_off;
} NetTodo;
enum { NET_TODO_CSUM = 1, NET_TODO_VALID = 2 };
enum { NET_GSO_NONE = 0, NET_GSO_TCP4 = 1, NET_GSO_UDP = 3, NET_GSO_TCP6 = 4, NET_GSO_ECN = 0x80 };
/* What a port takes unfinished. */
enum { NET_OFFLOAD_CSUM = 1, NET_OFFLOAD_TSO4 = 2, NET_OFFLOAD_TSO6 = 4, NET_OFFLOAD_ECN = 8 };

typedef struct NetPortOps {
    const char *kind; /* "nic", "user", "tap"… */
    /* NULL: always. After it said false, net_flush() says that it may be true again. */
    bool (*can_receive)(NetPort *p);
    /* One frame; may send on its own. False: not now; the frame comes again after net_flush(). */
    bool (*receive)(NetPort *p, const uint8_t *buf, size_t len);
    /* The same with an unfinished frame, of a kind that @offloads of the port names. NULL: frames
     * for this port are finished before. */
    bool (*receive_todo)(NetPort *p, const NetTodo *todo, const uint8_t *buf, size_t len);
    /* Back ends: the peer takes unfinished frames of these kinds (NET_OFFLOAD_*) from now on. NULL:
     * this one never sends such. */
    void (*peer_offloads)(NetPort *p, unsigned offloads);
    /* The peer's queue is empty again after net_send() returned false. NULL: not interested. */
    void (*peer_ready)(NetPort *p);
    /* net_link_up() may have changed. NULL: not interested. */
    void (*link_changed)(NetPort *p);
    /* Back ends: free what hangs on it, but not @p itself, which the core frees. */
    void (*fini)(NetPort *p);
} NetPortOps;

/* First member of what implements a port. */
struct NetPort {
    const NetPortOps *ops;
    Machine *m;
    char *name;          /* id */
    char *info;          /* what `info network` shows behind the kind */
    NetPort *peer;       /* or NULL */
    bool link_down;      /* by set_link */
    bool receiving;      /* in ops->receive */
    bool backend;        /* the core owns and frees it */
    bool sender_stopped; /* the peer was told to wait */
    GQueue waiting;      /* of GBytes*: frames for this port */
    unsigned offloads;   /* NET_OFFLOAD_* that receive_todo() takes */
    uint64_t dropped;
};

/* Send a frame to the peer. True: go on; false: it was queued or lost, better wait for peer_ready.
 * Frames of more than NET_MAX_FRAME bytes and empty ones are dropped. */
bool net_send(NetPort *from, const uint8_t *buf, size_t len);
/* The same with work left to do, which is done here when the peer does not. Frames that contradict
 * @todo are dropped with a guest_error(). @buf is changed. */
bool net_send_todo(NetPort *from, const NetTodo *todo, uint8_t *buf, size_t len);
/* Finish a frame: @emit gets one or more whole ones. False: it contradicts @todo. @buf is changed.
 */
bool net_finish(const NetTodo *todo, uint8_t *buf, size_t len,
                void (*emit)(void *opaque, const uint8_t *buf, size_t len), void *opaque);
/* @p may be able to receive again: deliver what waits. */
void net_flush(NetPort *p);
/* Drop what waits for @p (reset). */
void net_purge(NetPort *p);
/* Both ends have a link. */
bool net_link_up(const NetPort *p);
void net_set_link(NetPort *p, bool up);

/* A card's port: joins the machine's list and, with @netdev (may be NULL), its back end. The name
 * is the device's id or "MODEL.N". A zero @mac gets the next default address. Fails when there is
 * no such back end or it is taken. */
bool net_nic_init(NetPort *p, Device *dev, const NetPortOps *ops, const char *netdev,
                  uint8_t mac[6], GError **err);
void net_nic_fini(NetPort *p);

/* Back ends. */
typedef struct NetBackendType {
    const char *name;
    /* New port struct with what @o says, or NULL; the core does name and list. */
    NetPort *(*create)(Machine *m, Options *o, GError **err);
    const char *help;
} NetBackendType;
extern const NetBackendType net_user_type, net_tap_type, net_hubport_type;

/* What stands after -netdev: "TYPE,id=ID,…". @implied_id is used when there is no id; NULL: the
 * id is a must. Keys the type does not know are errors. */
NetPort *net_new_from_opts(Machine *m, const char *what, const char *text, const char *implied_id,
                           GError **err);
/* The same with parsed options, whose ownership stays. */
NetPort *net_new(Machine *m, Options *o, const char *implied_id, GError **err);
/* A back end or card by name. */
NetPort *net_find(Machine *m, const char *name);
/* Takes a back end away; its card has no peer then. False for cards and unknown names. */
bool net_del(Machine *m, const char *id, GError **err);
/* All back ends; cards stay without peers. Before machine_free(). */
void net_cleanup(Machine *m);
/* A fresh port on hub @n; @netdev (may be NULL): the back end on it. */
NetPort *net_hub_port(Machine *m, uint32_t n, const char *netdev, GError **err);
/* "#net000", "#net001"… not in use; caller frees. */
char *net_auto_name(Machine *m);
/* Lines of `info network`; caller frees. */
char *net_info(Machine *m);
/* Lines of all back end names; caller frees. */
char *net_types(void);
/* set_link NAME on|off. */
bool net_set_link_by_name(Machine *m, const char *name, bool up, GError **err);

/* User mode (net/user.c): text is "[ID] PROTO:[ADDR]:PORT…"; @id NULL: the first one. */
bool net_user_hostfwd_add(Machine *m, const char *id, const char *rule, GError **err);
bool net_user_hostfwd_remove(Machine *m, const char *id, const char *rule, GError **err);
/* Connections of all user mode networks; caller frees. */
char *net_user_info(Machine *m);

/* For net/: the list, in the order of creation. */
void net_foreach(Machine *m, void (*fn)(NetPort *p, void *arg), void *arg);

/* A readable descriptor of a back end, watched while the machine runs and @paused is false. */
typedef struct NetFd NetFd;
NetFd *net_fd_watch(Machine *m, int fd, void (*readable)(void *opaque), void *opaque);
void net_fd_pause(NetFd *w, bool paused);
void net_fd_unwatch(NetFd *w); /* NULL is fine; does not close */

/* Ones' complement sum of bytes, for checksums of Internet protocols; not folded to 16 bits when
 * continued with @sum. */
uint32_t net_sum(const uint8_t *p, size_t len, uint32_t sum);
static inline uint16_t net_fold(uint32_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}
/* Ethernet CRC as multicast filters use it: of the 6 address bytes, most significant bit first. */
uint32_t net_mac_crc(const uint8_t mac[6]);

#endif
