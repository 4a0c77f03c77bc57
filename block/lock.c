/*
 * Locks of image files, so that two programs do not write to one image. The scheme is that of
 * QEMU's programs, found by watching their fcntl() calls: a read lock on byte 100+n says "I do n",
 * one on byte 200+n says "nobody else may do n"; n is 0 for reading, 1 for writing and 3 for
 * resizing. Each side sets its bytes and then looks whether anybody has the opposite ones. The
 * locks belong to the open file description (F_OFD_SETLK), so a second drive of the same program
 * is refused as well.
 */
#include "block/driver.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DOES = 100,
    FORBIDS = 200,
    READS = 1 << 0,
    WRITES = 1 << 1,
    RESIZES = 1 << 3,
    ALL = READS | WRITES | RESIZES
};

/* Does a descriptor of process @pid hold a lock of the file? */
static bool fd_has_lock(const char *pid, const char *fd)
{
    g_autofree char *info = g_strdup_printf("/proc/%s/fdinfo/%s", pid, fd);
    g_autofree char *text = NULL;
    return g_file_get_contents(info, &text, NULL, NULL) && strstr(text, "\nlock:") &&
           strstr(text, "OFDLCK");
}

static bool process_holds(const char *pid, const struct stat *want, int but_fd)
{
    g_autofree char *dir_name = g_strdup_printf("/proc/%s/fd", pid);
    GDir *dir = g_dir_open(dir_name, 0, NULL);
    const char *fd;
    bool found = false;

    while (dir && !found && (fd = g_dir_read_name(dir))) {
        g_autofree char *link = g_build_filename(dir_name, fd, NULL);
        struct stat st;
        found = atoi(fd) != but_fd && stat(link, &st) == 0 && st.st_ino == want->st_ino &&
                st.st_dev == want->st_dev && fd_has_lock(pid, fd);
    }
    if (dir) {
        g_dir_close(dir);
    }
    return found;
}

/* The kernel does not tell who has a lock of an open file description: look for it. */
static char *holder(int fd)
{
    struct stat st;
    GDir *proc = fstat(fd, &st) == 0 ? g_dir_open("/proc", 0, NULL) : NULL;
    const char *name;
    char *text = NULL;

    if (process_holds("self", &st, fd)) {
        text = g_strdup("another drive of this program");
    }
    while (proc && !text && (name = g_dir_read_name(proc))) {
        if (g_ascii_isdigit(*name) && atoi(name) != getpid() && process_holds(name, &st, -1)) {
            g_autofree char *path = g_strdup_printf("/proc/%s/comm", name);
            g_autofree char *comm = NULL;
            g_file_get_contents(path, &comm, NULL, NULL);
            text = g_strdup_printf("process %s (%s)", name, comm ? g_strchomp(comm) : "?");
        }
    }
    if (proc) {
        g_dir_close(proc);
    }
    return text ? text : g_strdup("another program");
}

static int set_byte(int fd, int type, int byte)
{
    struct flock fl = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int ret;

    do {
        ret = fcntl(fd, F_OFD_SETLK, &fl);
    } while (ret && errno == EINTR);
    return ret ? -errno : 0;
}

/* Has another description a lock there? */
static bool taken(int fd, int byte)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
}

static void drop(int fd, unsigned does, unsigned forbids)
{
    for (int i = 0; i < 4; i++) {
        if (does >> i & 1) {
            set_byte(fd, F_UNLCK, DOES + i);
        }
        if (forbids >> i & 1) {
            set_byte(fd, F_UNLCK, FORBIDS + i);
        }
    }
}

bool image_lock(int fd, const char *path, unsigned flags, GError **err)
{
    bool write = flags & IMAGE_WRITE;
    unsigned does = write ? ALL : READS;
    unsigned forbids = flags & IMAGE_SHARE_RW ? 0 : WRITES | RESIZES;

    drop(fd, ALL & ~does, ALL & ~forbids);
    if (flags & IMAGE_UNLOCKED) {
        drop(fd, does, forbids);
        return true;
    }
    int ret = 0;
    for (int i = 0; i < 4 && ret == 0; i++) {
        ret = does >> i & 1 ? set_byte(fd, F_RDLCK, DOES + i) : 0;
        ret = ret == 0 && forbids >> i & 1 ? set_byte(fd, F_RDLCK, FORBIDS + i) : ret;
    }
    /* Some network file systems have no locks at all. */
    if (ret && ret != -EAGAIN && ret != -EACCES) {
        return true;
    }
    bool refused = ret != 0, written = ret != 0;
    for (int i = 0; i < 4 && !refused; i++) {
        refused = does >> i & 1 && taken(fd, FORBIDS + i);
        if (!refused && forbids >> i & 1 && taken(fd, DOES + i)) {
            refused = written = true;
        }
    }
    if (!refused) {
        return true;
    }
    drop(fd, does, forbids);
    g_autofree char *who = holder(fd);
    return fail(err, "image '%s' is in use by %s%s", path, who,
                write     ? ""
                : written ? ", which writes to it; -U reads it all the same"
                          : ", which lets nobody else in");
}
