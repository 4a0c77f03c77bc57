/*
 * Network block devices, client and server: NBD protocol (doc/proto.md of the nbd project), fixed
 * newstyle negotiation with structured replies and the base:allocation context, over TCP and Unix
 * sockets. No TLS.
 */
#ifndef RHEA_BLOCK_NBD_H
#define RHEA_BLOCK_NBD_H

#include "block/block.h"
#include "block/driver.h"
#include "core/option.h"

#define NBD_PORT "10809"

/* Where a server is. */
typedef struct NbdAddress {
    char *path;        /* Unix socket; else: */
    char *host, *port; /* host NULL: any address (servers), localhost (clients) */
    char *export;      /* never NULL */
} NbdAddress;

/* nbd:HOST:PORT[:exportname=E], nbd:unix:PATH[:exportname=E], nbd://HOST[:PORT]/E,
 * nbd+unix:///E?socket=PATH */
bool nbd_address_parse(NbdAddress *a, const char *text, GError **err);
void nbd_address_clear(NbdAddress *a);
bool nbd_is_address(const char *text);

/* ---- client ---- */

bool nbd_open(BlockFile *out, const char *name, unsigned flags, GError **err);
/* Keys behind @prefix: server.type=, server.host= …, or host=, port=, path=; export= */
bool nbd_open_options(BlockFile *out, Options *o, const char *prefix, unsigned flags, GError **err);
/* Over a connected socket, which it takes (for tests). @name is for messages. */
bool nbd_open_fd(BlockFile *out, int fd, const char *export, const char *name, unsigned flags,
                 GError **err);

/* ---- server; machine lock throughout ---- */

typedef struct NbdServer NbdServer;

typedef struct NbdServerConfig {
    const char *path;        /* Unix socket, made here and removed at the end; else: */
    const char *host, *port; /* NULL: all addresses, port 10809 */
    unsigned max_clients;    /* 0: any number */
    /* After a client came or went, in the main loop. */
    void (*clients)(void *opaque, unsigned n);
    void *opaque;
} NbdServerConfig;

typedef struct NbdExportConfig {
    const char *name;        /* "" = what clients get that name nothing */
    const char *description; /* may be NULL */
    bool writable;
} NbdExportConfig;

NbdServer *nbd_server_new(const NbdServerConfig *cfg, GError **err);
/* Ends all connections. NULL is fine. */
void nbd_server_free(NbdServer *s);
/* @b goes on belonging to its device; when it is closed its exports go. */
bool nbd_server_add(NbdServer *s, BlockDev *b, const NbdExportConfig *cfg, GError **err);
/* Refused while clients use it, unless @force. */
bool nbd_server_remove(NbdServer *s, const char *name, bool force, GError **err);
unsigned nbd_server_clients(const NbdServer *s);
/* Serve one client on a connected socket, which it takes (tests). */
void nbd_server_client(NbdServer *s, int fd);
/* The same for the kernel's client, which does not negotiate: tells what it has to know. */
bool nbd_server_kernel(NbdServer *s, int fd, const char *name, uint64_t *size, uint16_t *flags,
                       GError **err);

#endif
