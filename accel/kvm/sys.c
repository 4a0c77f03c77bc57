/* The real system behind accel/kvm. */
#include "accel/kvm/kvm-int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int real_open(void *opaque, const char *path)
{
    return open(path, O_RDWR | O_CLOEXEC);
}

static int real_close(void *opaque, int fd)
{
    return close(fd);
}

static int real_ioctl(void *opaque, int fd, unsigned long req, void *arg)
{
    return ioctl(fd, req, arg);
}

static void *real_mmap(void *opaque, size_t size, int fd, size_t offset)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

    return p == MAP_FAILED ? NULL : p;
}

static void real_munmap(void *opaque, void *p, size_t size)
{
    munmap(p, size);
}

static bool real_shadow_paging(void *opaque)
{
    static const char *const two_dimensional[] = {"/sys/module/kvm_intel/parameters/ept",
                                                  "/sys/module/kvm_amd/parameters/npt"};

    for (unsigned i = 0; i < G_N_ELEMENTS(two_dimensional); i++) {
        g_autofree char *text = NULL;

        if (g_file_get_contents(two_dimensional[i], &text, NULL, NULL) &&
            (text[0] == 'Y' || text[0] == '1')) {
            return false;
        }
    }
    return true;
}

const KvmSys kvm_real_sys = {
    .open = real_open,
    .close = real_close,
    .ioctl = real_ioctl,
    .mmap = real_mmap,
    .munmap = real_munmap,
    .shadow_paging = real_shadow_paging,
};
