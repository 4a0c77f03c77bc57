/*
 * Motorola MC146818A real-time clock plus RAM, in its PC form: IRQ 8, a century byte at 32h that
 * is kept up to date, and the extended RAM bank of the PIIX (82371SB data sheet, 2.5.5).
 * Data sheet: Motorola MC146818A (ADI1074).
 *
 * Nothing ticks: date and divider chain are computed from the Clock. The divider's phase is
 * (now + sub_off), its seconds are counted from 1970 with sec_off added. catch_up() brings flags up
 * to date for everything that happened since it last ran; the host timer runs only while an
 * enabled interrupt is to come.
 */
#include "hw/timer/mc146818.h"
#include "core/log.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    SECONDS,
    SECONDS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    HOURS,
    HOURS_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    CENTURY = 0x32,

    A_UIP = 0x80,
    A_DV = 0x70,
    A_DV_32K = 0x20,
    A_RS = 0x0f,
    B_SET = 0x80,
    B_PIE = 0x40,
    B_AIE = 0x20,
    B_UIE = 0x10,
    B_SQWE = 0x08,
    B_DM = 0x04,
    B_24H = 0x02,
    B_DSE = 0x01,
    C_IRQF = 0x80,
    C_PF = 0x40,
    C_AF = 0x20,
    C_UF = 0x10,
    D_VRT = 0x80,
};

#define DIVIDER_HZ 32768
/* The update cycle takes 1984 µs and is announced 244 µs before. */
#define UIP_NS ((1984 + 244) * 1000)
#define MAX_COALESCED 1000

struct Mc146818 {
    Device dev;
    uint8_t cmos[256];
    uint8_t index, index_ext;
    bool nmi_masked;
    int64_t sec_off, sub_off;
    int64_t last_sec, last_tick; /* up to where catch_up() has looked */
    uint8_t weekday_off;         /* of the weekday register against the calendar */
    int64_t fell_back;           /* year of the last end of daylight saving time */
    uint32_t coalesced;          /* missed periodic interrupts (slew) */
    int64_t inject_at;           /* ns; when to deliver one of them, -1 = none */
    bool irq_level;
    Mc146818Config cfg;
    Timer timer;
    MemRegion ports;
};

typedef struct Date {
    int64_t year;
    unsigned month, day, hour, minute, second;
    int64_t days; /* since 1970-01-01 */
} Date;

/* ---- calendar ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar; any @day. The year starts
 * in March here, so that the leap day is its last. */
static int64_t days_of(int64_t year, unsigned month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = floor_div(y, 400), in_era = y - era * 400;
    int64_t in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static Date date_of(int64_t sec)
{
    Date d;
    int64_t days = floor_div(sec, 86400), in_day = sec - days * 86400;
    int64_t z = days + 719468, era = floor_div(z, 146097), in_era = z - era * 146097;
    int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * in_year + 2) / 153;

    d.day = in_year - (153 * m + 2) / 5 + 1;
    d.month = m < 10 ? m + 3 : m - 9;
    d.year = y + era * 400 + (d.month <= 2);
    d.hour = in_day / 3600;
    d.minute = in_day / 60 % 60;
    d.second = in_day % 60;
    d.days = days;
    return d;
}

/* 0 = Sunday. */
static unsigned weekday_of(int64_t days)
{
    return ((days + 4) % 7 + 7) % 7;
}

/* ---- register coding ---- */

static uint8_t encode(const Mc146818 *s, unsigned v)
{
    return s->cmos[REG_B] & B_DM ? v : v / 10 % 10 << 4 | v % 10;
}

static unsigned decode(const Mc146818 *s, uint8_t v)
{
    return s->cmos[REG_B] & B_DM ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const Mc146818 *s, unsigned hour)
{
    if (s->cmos[REG_B] & B_24H) {
        return encode(s, hour);
    }
    return encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const Mc146818 *s, uint8_t v)
{
    if (s->cmos[REG_B] & B_24H) {
        return decode(s, v);
    }
    return decode(s, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* ---- the running clock ---- */

static bool divider_runs(const Mc146818 *s)
{
    return (s->cmos[REG_A] & A_DV) == A_DV_32K;
}

static bool updates(const Mc146818 *s)
{
    return divider_runs(s) && !(s->cmos[REG_B] & B_SET);
}

static int64_t phase(const Mc146818 *s)
{
    return clock_now(s->cfg.clock) + s->sub_off;
}

static int64_t second_now(const Mc146818 *s)
{
    return floor_div(phase(s), NS_PER_SEC) + s->sec_off;
}

static int64_t tick_now(const Mc146818 *s)
{
    return muldiv64(MAX(phase(s), 0), DIVIDER_HZ, NS_PER_SEC);
}

/* The instant at which second @sec begins. */
static int64_t second_to_ns(const Mc146818 *s, int64_t sec)
{
    return (sec - s->sec_off) * NS_PER_SEC - s->sub_off;
}

/* Time registers show the present. */
static void store_time(Mc146818 *s)
{
    Date d = date_of(second_now(s));

    s->cmos[SECONDS] = encode(s, d.second);
    s->cmos[MINUTES] = encode(s, d.minute);
    s->cmos[HOURS] = encode_hour(s, d.hour);
    s->cmos[WEEKDAY] = (weekday_of(d.days) + s->weekday_off) % 7 + 1;
    s->cmos[DAY] = encode(s, d.day);
    s->cmos[MONTH] = encode(s, d.month);
    s->cmos[YEAR] = encode(s, d.year % 100);
    s->cmos[CENTURY] = encode(s, d.year / 100 % 100);
}

/* The clock goes on from what the time registers say. Impossible dates carry over. */
static void load_time(Mc146818 *s)
{
    int64_t year = decode(s, s->cmos[CENTURY]) * 100 + decode(s, s->cmos[YEAR]);
    unsigned month = CLAMP(decode(s, s->cmos[MONTH]), 1, 12);
    int64_t days = days_of(year, month, decode(s, s->cmos[DAY]));
    int64_t sec = days * 86400 + decode_hour(s, s->cmos[HOURS]) * 3600 +
                  decode(s, s->cmos[MINUTES]) * 60 + decode(s, s->cmos[SECONDS]);

    s->sec_off += sec - second_now(s);
    days = floor_div(sec, 86400);
    s->weekday_off = ((s->cmos[WEEKDAY] & 7) + 6 - weekday_of(days) + 7) % 7;
    s->last_sec = sec;
}

/* ---- alarm ---- */

static bool alarm_matches(const Mc146818 *s, unsigned reg, uint8_t encoded)
{
    return (s->cmos[reg] & 0xc0) == 0xc0 || s->cmos[reg] == encoded;
}

/* The first second after @from at which the alarm goes off; -1: never. */
static int64_t next_alarm(const Mc146818 *s, int64_t from)
{
    bool hours[24], minutes[60], seconds[60];
    bool any_h = false, any_m = false, any_s = false;

    for (unsigned i = 0; i < 60; i++) {
        any_m |= minutes[i] = alarm_matches(s, MINUTES_ALARM, encode(s, i));
        any_s |= seconds[i] = alarm_matches(s, SECONDS_ALARM, encode(s, i));
    }
    for (unsigned i = 0; i < 24; i++) {
        any_h |= hours[i] = alarm_matches(s, HOURS_ALARM, encode_hour(s, i));
    }
    if (!any_h || !any_m || !any_s) {
        return -1;
    }
    int64_t t = from + 1;
    for (;;) {
        Date d = date_of(t);
        if (!hours[d.hour]) {
            t += 3600 - d.minute * 60 - d.second;
        } else if (!minutes[d.minute]) {
            t += 60 - d.second;
        } else if (!seconds[d.second]) {
            t++;
        } else {
            return t;
        }
    }
}

/* ---- daylight saving ---- */

/* 2:00 on the last Sunday of a month with 30 or 31 days (April, October). */
static int64_t last_sunday(int64_t year, unsigned month, unsigned length)
{
    int64_t days = days_of(year, month, length);

    return (days - weekday_of(days)) * 86400 + 2 * 3600;
}

/* DSE: the hour jumps in April (1:59:59 → 3:00:00) and October (1:59:59 → 1:00:00, once). */
static void daylight_saving(Mc146818 *s)
{
    int64_t year = date_of(s->last_sec).year, end = MIN(date_of(second_now(s)).year, year + 100);

    for (; year <= end; year++) {
        int64_t spring = last_sunday(year, 4, 30), fall = last_sunday(year, 10, 31);
        if (s->last_sec < spring && second_now(s) >= spring) {
            s->sec_off += 3600;
        }
        if (s->fell_back != year && s->last_sec < fall && second_now(s) >= fall) {
            s->sec_off -= 3600;
            s->fell_back = year;
        }
    }
}

/* ---- flags and interrupt ---- */

/* Divider ticks between periodic interrupts; 0 = none. */
static unsigned period_ticks(const Mc146818 *s)
{
    unsigned rs = s->cmos[REG_A] & A_RS;

    return !rs ? 0 : rs < 3 ? 1u << (rs + 6) : 1u << (rs - 1);
}

static void catch_up_periodic(Mc146818 *s)
{
    int64_t tick = tick_now(s);
    unsigned period = period_ticks(s);

    if (period && tick / period > s->last_tick / period) {
        int64_t missed = tick / period - s->last_tick / period - !(s->cmos[REG_C] & C_PF);
        if (s->cfg.slew && (s->cmos[REG_B] & B_PIE)) {
            s->coalesced = MIN(s->coalesced + missed, MAX_COALESCED);
        }
        s->cmos[REG_C] |= C_PF;
    }
    s->last_tick = tick;
    if (s->inject_at >= 0 && clock_now(s->cfg.clock) >= s->inject_at) {
        s->inject_at = -1;
        s->coalesced -= s->coalesced > 0;
        s->cmos[REG_C] |= C_PF;
    }
}

static void catch_up(Mc146818 *s)
{
    if (!divider_runs(s)) {
        return;
    }
    catch_up_periodic(s);
    if (updates(s) && (s->cmos[REG_B] & B_DSE)) {
        daylight_saving(s);
    }
    int64_t sec = second_now(s);
    if (updates(s) && sec > s->last_sec) {
        int64_t alarm = next_alarm(s, s->last_sec);
        s->cmos[REG_C] |= C_UF;
        if (alarm >= 0 && alarm <= sec) {
            s->cmos[REG_C] |= C_AF;
        }
    }
    s->last_sec = sec;
}

static void earliest(int64_t *deadline, int64_t ns)
{
    if (*deadline < 0 || ns < *deadline) {
        *deadline = ns;
    }
}

/* IRQF, the line, and the timer for the next event that would change them. After catch_up(). */
static void update_irq(Mc146818 *s)
{
    uint8_t b = s->cmos[REG_B], c = s->cmos[REG_C] & ~C_IRQF;
    bool level = b & c & (B_PIE | B_AIE | B_UIE);
    int64_t deadline = -1;

    s->cmos[REG_C] = c | (level ? C_IRQF : 0);
    if (level != s->irq_level) {
        s->irq_level = level;
        irq_set(&s->cfg.irq, level);
    }
    unsigned period = period_ticks(s);
    if (divider_runs(s) && (b & B_PIE) && !(c & C_PF) && period) {
        int64_t tick = (s->last_tick / period + 1) * period;
        int64_t ns = ((unsigned __int128)tick * NS_PER_SEC + DIVIDER_HZ - 1) / DIVIDER_HZ;
        earliest(&deadline, ns - s->sub_off);
        if (s->inject_at >= 0) {
            earliest(&deadline, s->inject_at);
        }
    }
    if (updates(s) && (b & B_UIE) && !(c & C_UF)) {
        earliest(&deadline, second_to_ns(s, s->last_sec + 1));
    }
    if (updates(s) && (b & B_AIE) && !(c & C_AF)) {
        int64_t sec = next_alarm(s, s->last_sec);
        if (sec >= 0) {
            earliest(&deadline, second_to_ns(s, sec));
        }
    }
    if (deadline < 0) {
        timer_del(&s->timer);
    } else {
        timer_set(&s->timer, deadline);
    }
}

static void on_timer(void *opaque)
{
    catch_up(opaque);
    update_irq(opaque);
}

/* ---- registers ---- */

static bool is_time(uint8_t index)
{
    return index == CENTURY || (index <= YEAR && index != SECONDS_ALARM && index != MINUTES_ALARM &&
                                index != HOURS_ALARM);
}

static uint8_t read_a(const Mc146818 *s)
{
    int64_t p = phase(s), sub = p - floor_div(p, NS_PER_SEC) * NS_PER_SEC;
    bool uip = updates(s) && sub >= NS_PER_SEC - UIP_NS;

    return (s->cmos[REG_A] & ~A_UIP) | (uip ? A_UIP : 0);
}

static uint8_t read_c(Mc146818 *s)
{
    uint8_t v = s->cmos[REG_C];
    unsigned period = period_ticks(s);

    s->cmos[REG_C] = 0;
    if (s->coalesced && s->inject_at < 0 && period) {
        s->inject_at = clock_now(s->cfg.clock) + muldiv64(period, NS_PER_SEC, DIVIDER_HZ) / 2;
    }
    update_irq(s);
    return v;
}

static uint8_t read_reg(Mc146818 *s, uint8_t index)
{
    catch_up(s);
    update_irq(s);
    if (is_time(index) && updates(s)) {
        store_time(s);
    }
    return index == REG_A ? read_a(s) : index == REG_C ? read_c(s) : s->cmos[index];
}

static void write_a(Mc146818 *s, uint8_t val)
{
    bool ran = divider_runs(s);

    if (updates(s)) {
        store_time(s);
    }
    s->cmos[REG_A] = val & ~A_UIP;
    if (!ran && divider_runs(s)) {
        /* Out of divider reset the first update comes after half a second. */
        int64_t t = clock_now(s->cfg.clock) % NS_PER_SEC;
        s->sub_off = (NS_PER_SEC / 2 - t + NS_PER_SEC) % NS_PER_SEC;
        s->last_tick = tick_now(s);
        load_time(s);
    }
    s->coalesced = 0;
    s->inject_at = -1;
}

static void write_b(Mc146818 *s, uint8_t val)
{
    bool ran = updates(s);
    bool recoded = (s->cmos[REG_B] ^ val) & (B_DM | B_24H);

    if (ran) {
        store_time(s);
    }
    s->cmos[REG_B] = val & B_SET ? val & ~B_UIE : val;
    if (updates(s) && (!ran || recoded)) {
        load_time(s); /* changing the coding does not convert what is there */
    }
    if (!(val & B_PIE)) {
        s->coalesced = 0;
        s->inject_at = -1;
    }
}

static void write_reg(Mc146818 *s, uint8_t index, uint8_t val)
{
    catch_up(s);
    switch (index) {
    case REG_A:
        write_a(s, val);
        break;
    case REG_B:
        write_b(s, val);
        break;
    case REG_C:
    case REG_D:
        break;
    default:
        if (is_time(index) && updates(s)) {
            store_time(s);
            s->cmos[index] = val;
            load_time(s);
        } else {
            s->cmos[index] = val;
        }
    }
    update_irq(s);
}

static uint64_t mc146818_read(void *opaque, uint64_t off, unsigned size)
{
    Mc146818 *s = opaque;

    switch (off) {
    case 1:
        return read_reg(s, s->index);
    case 3:
        return s->cmos[0x80 | s->index_ext];
    default:
        return 0xff; /* the index registers are write-only */
    }
}

static void mc146818_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Mc146818 *s = opaque;

    switch (off) {
    case 0:
        s->index = val & 0x7f;
        s->nmi_masked = val & 0x80;
        break;
    case 1:
        trace("mc146818_write", "index %02x val %02x", s->index, (unsigned)val);
        write_reg(s, s->index, val);
        break;
    case 2:
        s->index_ext = val & 0x7f;
        break;
    default:
        s->cmos[0x80 | s->index_ext] = val;
    }
}

static const MemOps mc146818_ops = {.read = mc146818_read, .write = mc146818_write, .impl_max = 1};

/* ---- for the board ---- */

void mc146818_set(Mc146818 *s, uint8_t index, uint8_t val)
{
    write_reg(s, index, val);
}

uint8_t mc146818_get(Mc146818 *s, uint8_t index)
{
    return index == REG_C ? s->cmos[REG_C] : read_reg(s, index);
}

bool mc146818_nmi_masked(const Mc146818 *s)
{
    return s->nmi_masked;
}

/* ---- life ---- */

static void mc146818_reset(Device *dev)
{
    Mc146818 *s = (Mc146818 *)dev;

    catch_up(s);
    s->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    s->cmos[REG_C] = 0;
    s->index = s->index_ext = 0;
    s->nmi_masked = false;
    s->coalesced = 0;
    s->inject_at = -1;
    update_irq(s);
}

static bool mc146818_post_load(void *obj, GError **err)
{
    Mc146818 *s = obj;

    if (s->index > 0x7f || s->index_ext > 0x7f || s->weekday_off > 6 || s->sub_off < 0 ||
        s->sub_off >= NS_PER_SEC || s->coalesced > MAX_COALESCED || s->inject_at < -1 ||
        s->last_tick < 0 || ABS(s->sec_off) > (int64_t)1 << 42) {
        return fail(err, "The saved state of the mc146818 is impossible");
    }
    /* What lies too far back was missed for good. */
    int64_t sec = second_now(s), tick = tick_now(s);
    if (s->last_sec > sec || s->last_sec < sec - 366 * 86400) {
        s->last_sec = sec;
    }
    s->last_tick = MIN(s->last_tick, tick);
    return true;
}

static const StateField mc146818_fields[] = {
    STATE_U8_ARRAY(Mc146818, cmos),
    STATE_U8(Mc146818, index),
    STATE_U8(Mc146818, index_ext),
    STATE_BOOL(Mc146818, nmi_masked),
    STATE_I64(Mc146818, sec_off),
    STATE_I64(Mc146818, sub_off),
    STATE_I64(Mc146818, last_sec),
    STATE_I64(Mc146818, last_tick),
    STATE_U8(Mc146818, weekday_off),
    STATE_I64(Mc146818, fell_back),
    STATE_U32(Mc146818, coalesced),
    STATE_I64(Mc146818, inject_at),
    STATE_BOOL(Mc146818, irq_level),
    STATE_TIMER(Mc146818, timer),
    STATE_END_FIELD,
};
static const StateTable mc146818_table = {
    .name = "mc146818", .version = 1, .fields = mc146818_fields, .post_load = mc146818_post_load};

/* Seconds since 1970 of the guest's date at start. */
static bool base_seconds(const Mc146818Config *cfg, int64_t *sec, GError **err)
{
    int64_t now = floor_div(clock_now(cfg->host), NS_PER_SEC);
    unsigned y, mo, d, h = 0, mi = 0, se = 0;
    int end = -1;

    *sec = now;
    if (!cfg->base || !strcmp(cfg->base, "utc")) {
        return true;
    }
    if (!strcmp(cfg->base, "localtime")) {
        time_t t = now;
        struct tm tm;
        if (localtime_r(&t, &tm)) {
            *sec = now + tm.tm_gmtoff;
        }
        return true;
    }
    bool ok = sscanf(cfg->base, "%4u-%2u-%2u%n", &y, &mo, &d, &end) == 3 && end > 0;
    if (ok && cfg->base[end]) {
        const char *rest = cfg->base + end;
        end = -1;
        ok = sscanf(rest, "T%2u:%2u:%2u%n", &h, &mi, &se, &end) == 3 && end > 0 && !rest[end];
    }
    if (!ok || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || se > 59) {
        return fail(err,
                    "The clock's base must be utc, localtime or a date like "
                    "2006-06-17T16:01:21, not '%s'",
                    cfg->base);
    }
    *sec = days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + se;
    return true;
}

static bool mc146818_realize(Device *dev, GError **err)
{
    Mc146818 *s = (Mc146818 *)dev;
    int64_t sec;

    if (!s->cfg.clock || !s->cfg.host) {
        return fail(err, "mc146818: no clock");
    }
    if (!base_seconds(&s->cfg, &sec, err)) {
        return false;
    }
    s->cmos[REG_A] = A_DV_32K | 6;
    s->cmos[REG_B] = B_24H;
    s->cmos[REG_D] = D_VRT;
    s->inject_at = -1;
    /* With a date of its own the second begins now; else it keeps the host's phase. */
    bool date = s->cfg.base && g_ascii_isdigit(s->cfg.base[0]);
    int64_t now = clock_now(s->cfg.clock), host = clock_now(s->cfg.host);
    int64_t sub = date ? 0 : host - floor_div(host, NS_PER_SEC) * NS_PER_SEC;
    s->sub_off = ((sub - now) % NS_PER_SEC + NS_PER_SEC) % NS_PER_SEC;
    s->sec_off = sec - floor_div(now + s->sub_off, NS_PER_SEC);
    s->last_sec = sec;
    s->last_tick = tick_now(s);
    timer_init(&s->timer, s->cfg.clock, on_timer, s);
    mem_region_init_io(&s->ports, "rtc", &mc146818_ops, s, 4);
    return true;
}

static void mc146818_unrealize(Device *dev)
{
    Mc146818 *s = (Mc146818 *)dev;

    timer_del(&s->timer);
    mem_region_destroy(&s->ports);
}

const DeviceType mc146818_type = {
    .name = "mc146818rtc",
    .desc = "MC146818 real-time clock and CMOS RAM",
    .size = sizeof(Mc146818),
    .realize = mc146818_realize,
    .unrealize = mc146818_unrealize,
    .reset = mc146818_reset,
    .state = &mc146818_table,
};

Mc146818 *mc146818_new(Machine *m, MemRegion *io, const Mc146818Config *cfg, GError **err)
{
    Mc146818 *s = (Mc146818 *)device_new(&mc146818_type, m);

    s->cfg = *cfg;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    s->cfg.base = NULL; /* the caller's string, needed no more */
    mem_region_add(io, &s->ports, 0x70, 0);
    return s;
}
