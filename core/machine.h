/*
 * The machine: what is common to all boards, the machine lock, run state, reset and shutdown.
 */
#ifndef RHEA_CORE_MACHINE_H
#define RHEA_CORE_MACHINE_H

#include "core/clock.h"
#include "core/device.h"
#include "core/memory.h"
#include "core/vcpu.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    RUN_PRELAUNCH, /* -S, or before the first start */
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_SHUTDOWN, /* guest powered off under -no-shutdown */
    RUN_DEBUG,
    RUN_INTERNAL_ERROR,
    RUN_IO_ERROR,
} RunState;

typedef enum {
    SHUTDOWN_NONE,
    SHUTDOWN_HOST_QUIT,
    SHUTDOWN_HOST_SIGNAL,
    SHUTDOWN_GUEST_SHUTDOWN,
    SHUTDOWN_GUEST_RESET,
    SHUTDOWN_GUEST_PANIC,
    SHUTDOWN_DEBUG_EXIT
} ShutdownCause;

typedef enum { MACHINE_EVENT_SHUTDOWN, MACHINE_EVENT_RESET, MACHINE_EVENT_POWERDOWN } MachineEvent;

typedef struct MachineType {
    const char *name, *alias, *desc;
    const char *const *archs; /* names of the targets it can have, the default first */
    int default_drive_if;     /* where a -drive without if= and -hda go: DRIVE_IF_* */
    unsigned max_vcpus;
    uint64_t default_ram;
    bool has_usb; /* -usb, -machine usb=on: its init fits a host controller if cfg.usb is set */
    bool (*init)(Machine *m, GError **err);
    void (*fini)(Machine *m);
} MachineType;

/* One -drive, -blockdev, -hda, -cdrom…: made and opened by block/drive.h. */
typedef struct DriveSpec {
    char *file; /* NULL: empty CD or floppy drive, or described by @opts */
    enum { DRIVE_IF_IDE, DRIVE_IF_FLOPPY, DRIVE_IF_NONE, DRIVE_IF_VIRTIO, DRIVE_IF_PFLASH } iface;
    int index;     /* IDE: 0…3, floppy: 0…1, -1 = next free */
    bool if_given; /* else the machine's default interface */
    bool cdrom, readonly, snapshot;
    char *format, *id, *serial;
    bool used;                  /* a board or device took it */
    bool node;                  /* of -blockdev: stays when its device goes */
    struct BlockOptions *opts;  /* all else that was said of it; block/drive.c */
    struct BlockDev *medium;    /* while @used: the image, NULL without one */
    const struct DriveOps *ops; /* of the device that shows it to the guest, and its argument */
    void *ops_opaque;
} DriveSpec;

struct Chardev; /* chardev/chardev.h */
struct Options; /* core/option.h */

/* -boot, -kernel, … as parsed; read by machine init. Strings may be NULL. */
typedef struct MachineConfig {
    const Target *target;
    const char *cpu_model;
    uint64_t ram_size;
    unsigned smp, sockets, cores, threads;
    const char *kernel, *initrd, *append, *dtb, *bios;
    /* -machine TYPE,KEY=VALUE…: the board reads what is its own; keys that nobody reads are
     * refused after its init. NULL: none were given. */
    struct Options *machine_opts;
    const char *boot_order, *boot_once;
    bool boot_menu, boot_strict;
    uint32_t boot_menu_timeout; /* ms, -boot splash-time= */
    int32_t boot_retry;         /* ms, -boot reboot-timeout=; -1 = never */
    const char *boot_splash;    /* picture file */
    bool usb;                   /* -usb, -machine usb=on: the board's USB host controller */
    bool no_acpi, no_hpet, nographic;
    const char *firmware_dir; /* -L */
    const char *rtc_base;     /* "utc", "localtime" or ISO date */
    const char *rtc_clock;    /* "host", "vm", "rt" */
    bool rtc_slew;
    const char *name;
    uint8_t uuid[16];
    bool have_uuid;
    bool has_display;          /* a VGA adapter is wanted */
    const char *vga;           /* which: "std" or "cirrus"; NULL: the machine's usual one */
    GPtrArray *drives;         /* of DriveSpec* */
    bool snapshot;             /* -snapshot: of all drives */
    struct Chardev *serial[4]; /* NULL: port not fitted */
    struct Chardev *parallel[3];
    struct Chardev *debugcon;   /* -debugcon */
    bool default_devices;       /* not -nodefaults */
    GPtrArray *smbios, *fw_cfg; /* of char*: -smbios, -fw_cfg */
} MachineConfig;

/* The memory balloon. Its device sets the first three (@opaque NULL: there is none), whoever wants
 * to know of changes the last. Sizes are what the guest has left, in bytes. Machine lock. */
typedef struct MachineBalloon {
    void (*set_target)(void *opaque, uint64_t bytes);
    uint64_t (*get_actual)(void *opaque);
    void *opaque;
    void (*changed)(Machine *m, uint64_t bytes);
} MachineBalloon;

struct Machine {
    const MachineType *type;
    const Accelerator *accel;
    void *accel_data; /* the jit's */
    void *kvm;        /* accel/kvm's, NULL without */
    MachineConfig cfg;
    MemRegion memory_root, io_root;
    MemSpace *memory, *io;
    MemRegion *ram; /* the board's RAM block */
    Clock *virtual_clock, *host_clock, *mono_clock;
    VCpu **vcpus;
    unsigned n_vcpus;
    GPtrArray *devices; /* realized, in order */
    GPtrArray *globals; /* private to core/device.c: -global, NULL without */
    Bus *root_bus;      /* of `info qtree` */
    RunState state;
    bool no_reboot, no_shutdown;
    void *board; /* owned by the machine type */
    /* Board services that other parts call; may be NULL. Machine lock. */
    void (*power_button)(Machine *m);
    void (*nmi)(Machine *m);
    /* New boot order, letters as of -boot order=, from the next reset on. */
    bool (*boot_set)(Machine *m, const char *order, GError **err);
    /* Told by the main thread what is being done; set by the QMP server, may be NULL. */
    void (*event)(Machine *m, MachineEvent ev, ShutdownCause cause);
    GSList *reset_hooks, *state_hooks;
    int exit_code;
    struct MachineLoop *loop;     /* private to core/machine.c */
    struct InputRouter *input;    /* private to ui/input.c; NULL without input devices */
    struct ConsoleList *consoles; /* private to ui/console.c; NULL without displays */
    struct VncServer *vnc;        /* private to ui/vnc.c; NULL without servers */
    struct SdlDisplay *sdl;       /* private to ui/sdl.c; NULL without a window */
    struct Keymap *keymap;        /* of -k; owned by system/displays.c, may be NULL */
    struct NetList *nets;         /* private to net/net.c; NULL without networks */
    MachineBalloon balloon;
    GSList *throttle_groups; /* private to block/throttle.c */
    struct NbdServer *nbd;   /* of nbd_server_start; freed by system/main.c */
    /* A drive has news for QMP clients: an event and its data as JSON; may be NULL. */
    void (*block_event)(Machine *m, const char *event, const char *json);
};

/* One lock for devices and machine state. Not recursive. Order: machine lock before any other. */
void machine_lock(void);
void machine_unlock(void);
bool machine_trylock(void);   /* false: somebody has it */
bool machine_lock_held(void); /* by this thread */

/* Empty memory and I/O spaces, clocks (the virtual one stopped), state RUN_PRELAUNCH. Both
 * arguments may be NULL in tests. The caller then runs accel->init and type->init under the lock.
 */
Machine *machine_new(const MachineType *type, const Accelerator *accel);
/* Ends vCPU threads, frees devices in reverse order, vCPUs, type->fini (if @board is set),
 * accel->fini. */
void machine_free(Machine *m);

/* Run state; machine lock. Stopping waits until every vCPU is parked. */
void machine_start(Machine *m);
void machine_stop(Machine *m, RunState why);
bool machine_running(const Machine *m);
/* Park the vCPUs for a moment, whatever the run state, while clocks go on; nests. Not on a vCPU's
 * thread; machine lock (given up while it waits). */
void machine_hold(Machine *m);
void machine_release(Machine *m);
const char *run_state_name(RunState s);
/* Any thread, any lock: done by the main loop soon. */
void machine_request_reset(Machine *m, ShutdownCause cause);
void machine_request_shutdown(Machine *m, ShutdownCause cause);
void machine_request_powerdown(Machine *m);
void machine_request_stop(Machine *m, RunState why);
void machine_request_exit(Machine *m, int code);
/* Called by the above on the main thread. Resets vCPUs, then all devices in order, then hooks. */
void machine_reset(Machine *m);
void machine_add_reset_hook(Machine *m, void (*fn)(void *opaque), void *opaque);
/* @fn(opaque, running) after each change of the run state. */
void machine_add_state_hook(Machine *m, void (*fn)(void *opaque, bool running), void *opaque);
/* Not from inside a hook. */
void machine_remove_state_hook(Machine *m, void (*fn)(void *opaque, bool running), void *opaque);
/* vCPU loop: must vCPUs park now? Machine lock. And: one did. */
bool machine_must_park(const Machine *m);
void machine_vcpu_parked(Machine *m);
/* Main loop until exit is requested; returns the exit status. */
int machine_main_loop(Machine *m);

#endif
