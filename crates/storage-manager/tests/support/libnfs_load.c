/* A load on one file by libnfs: what a direct client reaches. Prints operations per second.
 * Arguments: URL, read or write, random or sequential, bytes of an operation, operations in flight, bytes of the file, seconds. */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct nfs_context;
struct nfsfh;
struct nfs_url { char *server, *path, *file; };
typedef void (*callback)(int, struct nfs_context *, void *, void *);
struct nfs_context *nfs_init_context(void);
struct nfs_url *nfs_parse_url_full(struct nfs_context *, const char *);
int nfs_mount(struct nfs_context *, const char *, const char *);
int nfs_open(struct nfs_context *, const char *, int, struct nfsfh **);
int nfs_pread_async(struct nfs_context *, struct nfsfh *, uint64_t, uint64_t, callback, void *);
int nfs_pwrite_async(struct nfs_context *, struct nfsfh *, uint64_t, uint64_t, const void *, callback, void *);
int nfs_get_fd(struct nfs_context *);
int nfs_which_events(struct nfs_context *);
int nfs_service(struct nfs_context *, int);
char *nfs_get_error(struct nfs_context *);

static struct nfs_context *nfs;
static struct nfsfh *file;
static int writes, is_random;
static uint64_t block, blocks, next, done, in_flight;
static char *data;
static double end;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void start(void);

static void finished(int error, struct nfs_context *context, void *result, void *own)
{
    (void)context, (void)own;
    if (error < 0) {
        fprintf(stderr, "libnfs: %s\n", (char *)result);
        exit(1);
    }
    done++;
    in_flight--;
    if (now() < end)
        start();
}

static void start(void)
{
    uint64_t number = is_random ? ((uint64_t)random() << 31 | random()) : next++;
    uint64_t offset = number % blocks * block;
    int failed = writes ? nfs_pwrite_async(nfs, file, offset, block, data, finished, NULL)
                        : nfs_pread_async(nfs, file, offset, block, finished, NULL);
    if (failed) {
        fprintf(stderr, "libnfs: %s\n", nfs_get_error(nfs));
        exit(1);
    }
    in_flight++;
}

int main(int count, char **arguments)
{
    if (count != 8)
        return 2;
    nfs = nfs_init_context();
    struct nfs_url *url = nfs_parse_url_full(nfs, arguments[1]);
    if (!url || nfs_mount(nfs, url->server, url->path) || nfs_open(nfs, url->file, 2, &file)) {
        fprintf(stderr, "libnfs: %s\n", nfs_get_error(nfs));
        return 1;
    }
    writes = !strcmp(arguments[2], "write");
    is_random = !strcmp(arguments[3], "random");
    block = strtoull(arguments[4], NULL, 10);
    uint64_t queue = strtoull(arguments[5], NULL, 10);
    blocks = strtoull(arguments[6], NULL, 10) / block;
    data = malloc(block);
    memset(data, 0x5a, block);
    double begun = now();
    end = begun + atof(arguments[7]);
    for (uint64_t each = 0; each < queue; each++)
        start();
    while (in_flight) {
        struct pollfd events = { nfs_get_fd(nfs), nfs_which_events(nfs), 0 };
        if (poll(&events, 1, 1000) < 0 || nfs_service(nfs, events.revents) < 0)
            return 1;
    }
    printf("%f\n", done / (now() - begun));
    return 0;
}
