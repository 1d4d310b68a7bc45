/*
 * loop_probe: may this process use io_uring here, and if not, what to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/ring.h"

/* SINGLE_ISSUER with DEFER_TASKRUN came with 6.1. */
#define KERNEL_MAJOR_MIN 6
#define KERNEL_MINOR_MIN 1

static bool release_is_too_old(const char *release)
{
    char *after;
    long major = strtol(release, &after, 10);
    if (after == release || *after != '.') return false; /* no number: let the ring decide */
    long minor = strtol(after + 1, NULL, 10);
    return major < KERNEL_MAJOR_MIN || (major == KERNEL_MAJOR_MIN && minor < KERNEL_MINOR_MIN);
}

/* The most telling reason first: an old kernel refuses for many reasons, and
 * upgrading it is the only help. */
const char *loop_refusal(int error, const char *release, int disabled, char *text, size_t text_size)
{
    if (release_is_too_old(release)) {
        snprintf(text, text_size,
                 "this kernel is Linux %s, and Sluice needs 6.1 or newer (io_uring with deferred "
                 "task work): boot a newer kernel (Debian 12 and Ubuntu 24.04 have one)",
                 release);
        return text;
    }
    if (error == 0) return NULL;
    bool is_refused = error == EPERM || error == EACCES || error == ENOSYS;
    if (is_refused && disabled == 2)
        snprintf(
            text, text_size,
            "io_uring is switched off on this machine (kernel.io_uring_disabled = 2): as root, "
            "run 'sysctl -w kernel.io_uring_disabled=0' and keep it in /etc/sysctl.d");
    else if (is_refused && disabled == 1)
        snprintf(text, text_size,
                 "io_uring is kept for one group on this machine (kernel.io_uring_disabled = 1): "
                 "run Sluice in the group of 'sysctl kernel.io_uring_group', or as root run "
                 "'sysctl -w kernel.io_uring_disabled=0'");
    else if (error == EPERM || error == EACCES)
        snprintf(text, text_size,
                 "io_uring is refused to this process though the kernel has it (\"%s\"): a seccomp "
                 "filter does that, as the default ones of Docker and containerd do; run the "
                 "container with a profile that allows io_uring_setup, io_uring_enter and "
                 "io_uring_register (Docker: --security-opt seccomp=PROFILE.json)",
                 strerror(error));
    else if (error == ENOSYS)
        snprintf(text, text_size,
                 "there is no io_uring here: the kernel (Linux %s) was built without it "
                 "(CONFIG_IO_URING), or a container's seccomp filter hides it; use a kernel with "
                 "it, or a profile that allows io_uring_setup, io_uring_enter and "
                 "io_uring_register",
                 release);
    else if (error == EINVAL)
        snprintf(text, text_size,
                 "the kernel (Linux %s) does not know the io_uring modes that Sluice needs "
                 "(SINGLE_ISSUER with DEFER_TASKRUN, part of Linux 6.1): use an unmodified kernel",
                 release);
    else if (error == ENOMEM)
        snprintf(
            text, text_size,
            "the kernel gives this process no memory for an io_uring: newer kernels count rings as "
            "locked memory, so raise LimitMEMLOCK (systemd) or 'ulimit -l' to 512 KiB a shard "
            "or more, or the container's memory limit");
    else if (error == EMFILE || error == ENFILE)
        snprintf(text, text_size,
                 "no file descriptor is left for an io_uring: raise LimitNOFILE (systemd) or "
                 "'ulimit -n'");
    else
        snprintf(text, text_size, "io_uring cannot be set up: \"%s\" (errno %d) on Linux %s",
                 strerror(error), error, release);
    return text;
}

static int read_disabled(void)
{
    char text[16] = "";
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    return size > 0 ? atoi(text) : -1;
}

const char *loop_probe(void)
{
    static char text[512];
    struct utsname name;
    if (uname(&name) != 0) return "uname failed, so the kernel's release is unknown";
    return loop_refusal(ring_probe(), name.release, read_disabled(), text, sizeof text);
}
