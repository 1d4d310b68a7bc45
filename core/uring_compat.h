/*
 * uring_compat: numbers of the kernel's io_uring ABI that liburing 2.3's
 * headers do not have yet.
 *
 * ABI, not code: each may be used only where the kernel said it knows it, or
 * where a refusal is harmless.
 *
 * Thread:  any; constants.
 * Source:  include/uapi/linux/io_uring.h of Linux 6.18
 */
#pragma once

/* io_uring_params.features: enter takes a minimum wait (6.12). */
#define URING_FEAT_MIN_TIMEOUT  (1u << 15)
/* URING_CMD on a socket: getsockopt, setsockopt (6.7); an older kernel answers EOPNOTSUPP. */
#define URING_SOCKET_GETSOCKOPT 2
#define URING_SOCKET_SETSOCKOPT 3
/* How many task works one enter runs when it waits for fewer (all kernels so
 * far). */
#define URING_TASK_WORKS_MIN    20
