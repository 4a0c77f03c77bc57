/*
 * Limits of bytes and requests a second: leaky buckets, alone or shared by a group of drives.
 * Requests that exceed a limit wait in order of arrival. Machine lock.
 */
#ifndef RHEA_BLOCK_THROTTLE_H
#define RHEA_BLOCK_THROTTLE_H

#include "core/clock.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct Options;

enum {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL,
    THROTTLE_IOPS_READ,
    THROTTLE_IOPS_WRITE,
    THROTTLE_BUCKETS
};

typedef struct ThrottleLimit {
    uint64_t avg;    /* units a second; 0 = no limit */
    uint64_t max;    /* units a second in a burst; 0 = none but a tenth of a second of avg */
    uint64_t length; /* seconds a burst may last; 0 = 1 */
} ThrottleLimit;

typedef struct ThrottleConfig {
    ThrottleLimit limit[THROTTLE_BUCKETS];
    uint64_t iops_size; /* bytes that count as one request; 0: any size */
} ThrottleConfig;

/* bps=, bps_rd=, iops_max=…, throttling.bps-total= … of @o. */
bool throttle_parse(struct Options *o, ThrottleConfig *t, GError **err);
bool throttle_check(const ThrottleConfig *t, GError **err);
bool throttle_enabled(const ThrottleConfig *t);

typedef struct ThrottleGroup ThrottleGroup;

/* Embedded in what waits. */
typedef struct ThrottleItem {
    GList link;
    void *owner;
    uint64_t bytes;
    bool write;
    void (*go)(struct ThrottleItem *it); /* may be called inside throttle_submit() */
} ThrottleItem;

/* The group @name of @registry, made if it is not there; NULL: one of nobody else. References. */
ThrottleGroup *throttle_group_get(GSList **registry, const char *name, Clock *clock);
void throttle_group_put(ThrottleGroup *g);
const char *throttle_group_name(const ThrottleGroup *g); /* NULL: has none */
void throttle_group_set(ThrottleGroup *g, const ThrottleConfig *t);
const ThrottleConfig *throttle_group_config(const ThrottleGroup *g);
void throttle_submit(ThrottleGroup *g, ThrottleItem *it);
/* Lets all of @owner's go at once, limits or not. */
void throttle_release(ThrottleGroup *g, const void *owner);

#endif
