/*
 * floor: what a WebSocket broadcast costs when the server does nothing else.
 *
 * Accepts, upgrades, and for every data frame that any client sends writes one
 * prebuilt frame to every socket; triggers that arrive in one turn leave as one
 * send of so many copies.  No names, no parsing beyond frame lengths, no state
 * worth the word, no care for slow readers: they are closed.  A server with
 * logic is judged by how little it adds to this.
 *
 * The io_uring use is the gateway's own (direct descriptors, one submit per
 * turn, sends that complete silently), written out bare.
 *
 *   sluice-floor PORT [PAYLOAD_BYTES]
 */
#include <liburing.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SOCKETS     19000
#define BUFFERS     1024
#define BUFFER_SIZE 2048
#define SQ_ENTRIES  1024
#define CQ_ENTRIES  32768
#define COPIES_MAX  64 /* frames in one send */
#define PAYLOAD_MAX 8192
#define GUID        "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

enum op { OP_ACCEPT = 1, OP_RECV, OP_SEND, OP_CLOSE };

struct socket {
    bool is_open, is_upgraded;
    uint32_t head_size; /* of the request, or of a frame's header */
    uint64_t skip;      /* payload bytes of the frame being read */
    uint8_t head[16];
    char *request; /* until upgraded */
    uint32_t request_size;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static uint8_t *memory;
static struct socket sockets[SOCKETS];
static uint32_t sockets_end, triggers;
static uint8_t *copies;
static uint32_t frame_size;

static void stop(const char *what, int error)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
    exit(1);
}

static struct io_uring_sqe *entry(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum op op, uint32_t socket)
{
    sqe->user_data = (uint64_t)op << 32 | socket;
}

static void arm_recv(uint32_t socket)
{
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_recv_multishot(sqe, (int)socket, NULL, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    tag(sqe, OP_RECV, socket);
}

static void send_bytes(uint32_t socket, const void *data, uint32_t size)
{
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_send(sqe, (int)socket, data, size, MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, OP_SEND, socket);
}

static void close_socket(uint32_t socket)
{
    if (!sockets[socket].is_open) return;
    sockets[socket].is_open = false;
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_cancel64(sqe, (uint64_t)OP_RECV << 32 | socket, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_HARDLINK;
    sqe->user_data = 0;
    sqe = entry();
    io_uring_prep_close_direct(sqe, socket);
    tag(sqe, OP_CLOSE, socket);
}

/* The answers live until the process ends: they must outlast the submit. */
static void upgrade(uint32_t index)
{
    struct socket *socket = &sockets[index];
    char *key = strcasestr(socket->request, "\r\nsec-websocket-key:");
    if (key == NULL) {
        close_socket(index);
        return;
    }
    key += strlen("\r\nsec-websocket-key:");
    key += strspn(key, " ");
    char joined[128];
    snprintf(joined, sizeof joined, "%.*s" GUID, (int)strcspn(key, " \r\n"), key);
    uint8_t digest[SHA_DIGEST_LENGTH];
    SHA1((const uint8_t *)joined, strlen(joined), digest);
    char accept[64];
    EVP_EncodeBlock((uint8_t *)accept, digest, sizeof digest);
    static char answers[CQ_ENTRIES][160];
    static uint32_t next;
    char *answer = answers[next++ % CQ_ENTRIES];
    int size = snprintf(answer, sizeof answers[0],
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                        accept);
    send_bytes(index, answer, (uint32_t)size);
    free(socket->request);
    socket->request = NULL;
    socket->is_upgraded = true;
    socket->head_size = 0;
}

static void take_request(uint32_t index, const uint8_t *data, uint32_t size)
{
    struct socket *socket = &sockets[index];
    if (socket->request == NULL) socket->request = calloc(1, BUFFER_SIZE + 1);
    if (socket->request_size + size > BUFFER_SIZE) {
        close_socket(index);
        return;
    }
    memcpy(socket->request + socket->request_size, data, size);
    socket->request_size += size;
    if (strstr(socket->request, "\r\n\r\n") != NULL) upgrade(index);
}

/* Counts whole frames; a masked header is 6, 8 or 14 bytes. */
static void take_frames(struct socket *socket, const uint8_t *data, uint32_t size)
{
    while (size > 0) {
        if (socket->skip > 0) {
            uint32_t step = socket->skip < size ? (uint32_t)socket->skip : size;
            socket->skip -= step;
            data += step;
            size -= step;
            if (socket->skip == 0) triggers++;
            continue;
        }
        socket->head[socket->head_size++] = *data++;
        size--;
        uint8_t length = socket->head[1] & 0x7f;
        uint32_t need = socket->head_size < 2 ? 2 : length == 126 ? 8 : length == 127 ? 14 : 6;
        if (socket->head_size < need) continue;
        socket->skip = length;
        if (length == 126) socket->skip = (uint64_t)socket->head[2] << 8 | socket->head[3];
        if (length == 127) socket->skip = 0; /* nobody sends so much here */
        socket->head_size = 0;
    }
}

static void broadcast(void)
{
    while (triggers > 0) {
        uint32_t count = triggers < COPIES_MAX ? triggers : COPIES_MAX;
        triggers -= count;
        for (uint32_t i = 0; i < sockets_end; i++)
            if (sockets[i].is_open && sockets[i].is_upgraded)
                send_bytes(i, copies, count * frame_size);
    }
}

static void on_cqe(const struct io_uring_cqe *cqe, int listener)
{
    uint32_t socket = (uint32_t)cqe->user_data;
    bool has_more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    switch ((enum op)(cqe->user_data >> 32)) {
    case OP_ACCEPT:
        if (!has_more) {
            struct io_uring_sqe *sqe = entry();
            io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
            tag(sqe, OP_ACCEPT, 0);
        }
        if (cqe->res < 0) break;
        socket = (uint32_t)cqe->res;
        sockets[socket] = (struct socket){.is_open = true};
        if (socket >= sockets_end) sockets_end = socket + 1;
        arm_recv(socket);
        break;
    case OP_RECV:
        if (cqe->res > 0 && sockets[socket].is_open) {
            uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
            const uint8_t *data = memory + (size_t)buffer * BUFFER_SIZE;
            if (sockets[socket].is_upgraded)
                take_frames(&sockets[socket], data, (uint32_t)cqe->res);
            else
                take_request(socket, data, (uint32_t)cqe->res);
        }
        if (cqe->flags & IORING_CQE_F_BUFFER) {
            uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
            io_uring_buf_ring_add(buffers, memory + (size_t)buffer * BUFFER_SIZE, BUFFER_SIZE,
                                  (unsigned short)buffer, BUFFERS - 1, 0);
            io_uring_buf_ring_advance(buffers, 1);
        }
        if (has_more) break;
        if (cqe->res > 0 || cqe->res == -ENOBUFS)
            arm_recv(socket);
        else
            close_socket(socket);
        break;
    case OP_SEND: close_socket(socket); break;
    default: break;
    }
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) stop("bind", errno);
    if (listen(fd, 4096) != 0) stop("listen", errno);
    return fd;
}

static void set_up(void)
{
    struct io_uring_params params = {.cq_entries = CQ_ENTRIES};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
    int result = io_uring_queue_init_params(SQ_ENTRIES, &ring, &params);
    if (result < 0) stop("io_uring", -result);
    io_uring_register_ring_fd(&ring);
    result = io_uring_register_files_sparse(&ring, SOCKETS);
    if (result < 0) stop("file table", -result);
    size_t size = (size_t)BUFFERS * (BUFFER_SIZE + sizeof(struct io_uring_buf));
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) stop("mmap", errno);
    buffers = (struct io_uring_buf_ring *)(void *)(memory + (size_t)BUFFERS * BUFFER_SIZE);
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)buffers, .ring_entries = BUFFERS};
    if (syscall(__NR_io_uring_register, ring.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1) < 0)
        stop("buffers", errno);
    io_uring_buf_ring_init(buffers);
    for (uint32_t i = 0; i < BUFFERS; i++)
        io_uring_buf_ring_add(buffers, memory + (size_t)i * BUFFER_SIZE, BUFFER_SIZE,
                              (unsigned short)i, BUFFERS - 1, (int)i);
    io_uring_buf_ring_advance(buffers, BUFFERS);
}

static void build_copies(uint32_t payload)
{
    frame_size = payload + (payload < 126 ? 2 : 4);
    copies = calloc(COPIES_MAX, frame_size);
    for (uint32_t i = 0; i < COPIES_MAX; i++) {
        uint8_t *frame = copies + (size_t)i * frame_size;
        frame[0] = 0x81;
        frame[1] = payload < 126 ? (uint8_t)payload : 126;
        if (payload >= 126) {
            frame[2] = (uint8_t)(payload >> 8);
            frame[3] = (uint8_t)payload;
        }
        memset(frame + frame_size - payload, 'x', payload);
    }
}

int main(int argc, char **argv)
{
    uint32_t payload = argc > 2 ? (uint32_t)atoi(argv[2]) : 128;
    if (argc < 2 || payload == 0 || payload > PAYLOAD_MAX) {
        fprintf(stderr, "usage: sluice-floor PORT [PAYLOAD_BYTES]\n");
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    build_copies(payload);
    set_up();
    int listener = listen_on((uint16_t)atoi(argv[1]));
    struct io_uring_cqe first = {.user_data = (uint64_t)OP_ACCEPT << 32, .res = -EAGAIN};
    on_cqe(&first, listener);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            on_cqe(cqe, listener);
            count++;
        }
        io_uring_cq_advance(&ring, count);
        broadcast();
    }
}
