/* -daemonize, -pidfile, -runas: see daemon.h. */
#include "system/daemon.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

/* Process-wide by nature: the parent's pipe, and the pid file that this process owns. */
static int parent_pipe = -1;
static int pid_fd = -1;

bool daemon_fork(const SystemConfig *c, GError **err)
{
    int fds[2];
    if (!c->daemonize) {
        return true;
    }
    if (pipe2(fds, O_CLOEXEC) < 0) {
        return fail(err, "-daemonize: %s", strerror(errno));
    }
    pid_t pid = fork();
    if (pid < 0) {
        return fail(err, "-daemonize: cannot start a process: %s", strerror(errno));
    }
    if (pid > 0) {
        char ok = 1;
        close(fds[1]);
        ssize_t n;
        do {
            n = read(fds[0], &ok, 1);
        } while (n < 0 && errno == EINTR);
        _exit(n == 1 ? 0 : 1); /* the child has said why */
    }
    close(fds[0]);
    parent_pipe = fds[1];
    setsid();
    return true;
}

static bool write_pidfile(const char *path, GError **err)
{
    char text[32];
    pid_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (pid_fd < 0) {
        return fail(err, "-pidfile %s: %s", path, strerror(errno));
    }
    if (flock(pid_fd, LOCK_EX | LOCK_NB) < 0) {
        close(pid_fd);
        pid_fd = -1;
        return fail(err, "-pidfile %s: another running machine holds this file", path);
    }
    int len = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(pid_fd, 0) < 0 || write(pid_fd, text, len) != len) {
        return fail(err, "-pidfile %s: %s", path, strerror(errno));
    }
    return true;
}

static bool change_user(const char *name, GError **err)
{
    struct passwd *pw = getpwnam(name);
    if (!pw) {
        return fail(err, "-runas: there is no user '%s'", name);
    }
    if (initgroups(name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0) {
        return fail(err, "-runas %s: %s; only root may change the user", name, strerror(errno));
    }
    if (pw->pw_uid && !setuid(0)) {
        return fail(err, "-runas %s: root's rights could not be dropped", name);
    }
    return true;
}

bool daemon_ready(const SystemConfig *c, GError **err)
{
    if (c->pidfile && !write_pidfile(c->pidfile, err)) {
        return false;
    }
    if (c->runas && !change_user(c->runas, err)) {
        return false;
    }
    if (parent_pipe >= 0) {
        char ok = 0;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || chdir("/") < 0) {
            return fail(err, "-daemonize: %s", strerror(errno));
        }
        dup2(null, 0);
        dup2(null, 1);
        if (!c->log_items || c->log_file) {
            dup2(null, 2);
        }
        close(null);
        if (write(parent_pipe, &ok, 1) != 1) {
            return fail(err, "-daemonize: the parent process is gone");
        }
        close(parent_pipe);
        parent_pipe = -1;
    }
    return true;
}

void daemon_cleanup(const SystemConfig *c)
{
    if (pid_fd >= 0) {
        unlink(c->pidfile);
        close(pid_fd);
        pid_fd = -1;
    }
}
