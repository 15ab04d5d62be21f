#define _GNU_SOURCE /* fopencookie */
#define _FILE_OFFSET_BITS 64
#include "overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Large enough that a loader's small reads cost nothing: unbuffered, half a gigabyte took minutes. */
#define BUFFER_SIZE ((size_t)1 << 20)

typedef struct span {
    int64_t lo, hi;  /* where it lies in the overlay */
    const char *bytes;
    int64_t offset;  /* in the file */
    int fd;          /* -1: memory or zeros */
} span;

typedef struct overlay {
    int64_t position;
    int n_spans;
    int n_fds;
    int *fds;        /* the duplicates, one per distinct descriptor */
    char *bytes;     /* copies of the memory parts, end to end */
    char *buffer;    /* stdio's */
    span spans[];
} overlay;

/* The first span that ends behind the position; n_spans at the end of the overlay. Empty spans are never met. */
static int span_find(const overlay *o) {
    int lo = 0, hi = o->n_spans;
    while (lo < hi) {
        int middle = lo + (hi - lo) / 2;
        if (o->spans[middle].hi > o->position)
            hi = middle;
        else
            lo = middle + 1;
    }
    return lo;
}

static ssize_t span_read(const span *s, int64_t at, char *out, size_t size) {
    if ((uint64_t)size > (uint64_t)(s->hi - at))
        size = (size_t)(s->hi - at);
    if (s->bytes != NULL) {
        memcpy(out, s->bytes + (at - s->lo), size);
    } else if (s->fd < 0) {
        memset(out, 0, size);
    } else {
        ssize_t n_read;
        do
            n_read = pread(s->fd, out, size, s->offset + (at - s->lo));
        while (n_read < 0 && errno == EINTR);
        if (n_read == 0)
            errno = EIO; /* the file was cut under us */
        return n_read > 0 ? n_read : -1;
    }
    return (ssize_t)size;
}

static ssize_t overlay_read(void *cookie, char *out, size_t size) {
    overlay *o = cookie;
    size_t n_done = 0;
    for (int i = span_find(o); i < o->n_spans && n_done < size;) {
        if (o->spans[i].hi == o->position) {
            i++;
            continue;
        }
        ssize_t n_read = span_read(&o->spans[i], o->position, out + n_done, size - n_done);
        if (n_read < 0)
            return n_done > 0 ? (ssize_t)n_done : -1; /* the next call meets the error again */
        n_done += (size_t)n_read;
        o->position += n_read;
    }
    return (ssize_t)n_done;
}

static int overlay_seek(void *cookie, off64_t *offset, int whence) {
    overlay *o = cookie;
    int64_t end = o->n_spans > 0 ? o->spans[o->n_spans - 1].hi : 0;
    int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? o->position : end;
    int64_t position;
    if (__builtin_add_overflow(base, *offset, &position) || position < 0) {
        errno = EINVAL;
        return -1;
    }
    *offset = o->position = position;
    return 0;
}

static int overlay_close(void *cookie) {
    overlay *o = cookie;
    for (int i = 0; i < o->n_fds; i++)
        close(o->fds[i]);
    free(o->fds);
    free(o->bytes);
    free(o->buffer);
    free(o);
    return 0;
}

/* Lengths of everything and of the memory parts; -1 and EINVAL if a part is negative or the sum overflows. */
static int parts_measure(const overlay_part *parts, int n_parts, int64_t *n_memory) {
    int64_t end, n_all = 0;
    *n_memory = 0;
    for (int i = 0; i < n_parts; i++) {
        const overlay_part *part = &parts[i];
        if (part->length < 0 || part->offset < 0 || __builtin_add_overflow(n_all, part->length, &n_all) ||
            __builtin_add_overflow(part->offset, part->length, &end)) {
            errno = EINVAL;
            return -1;
        }
        if (part->bytes != NULL)
            *n_memory += part->length;
    }
    return 0;
}

/* Our duplicate of parts[i].fd; one serves all parts of a file. -1 and errno if it cannot be made. */
static int fd_share(overlay *o, const overlay_part *parts, int i) {
    for (int earlier = 0; earlier < i; earlier++)
        if (parts[earlier].bytes == NULL && parts[earlier].fd == parts[i].fd)
            return o->spans[earlier].fd;
    int fd = fcntl(parts[i].fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        o->fds[o->n_fds++] = fd;
    return fd;
}

static int spans_fill(overlay *o, const overlay_part *parts, int n_parts) {
    int64_t lo = 0;
    char *bytes = o->bytes;
    for (int i = 0; i < n_parts; i++) {
        const overlay_part *part = &parts[i];
        span *s = &o->spans[o->n_spans++];
        *s = (span){.lo = lo, .hi = lo + part->length, .offset = part->offset, .fd = -1};
        lo = s->hi;
        if (part->bytes != NULL) {
            s->bytes = bytes;
            memcpy(bytes, part->bytes, (size_t)part->length);
            bytes += part->length;
        } else if (part->fd >= 0 && (s->fd = fd_share(o, parts, i)) < 0) {
            return -1;
        }
    }
    return 0;
}

FILE *overlay_open(const overlay_part *parts, int n_parts) {
    int64_t n_memory;
    if (n_parts < 0 || parts_measure(parts, n_parts, &n_memory) != 0) {
        errno = EINVAL;
        return NULL;
    }
    overlay *o = calloc(1, sizeof *o + (size_t)n_parts * sizeof(span));
    if (o == NULL)
        return NULL;
    o->fds = malloc(((size_t)n_parts + 1) * sizeof(int));
    o->bytes = malloc((size_t)n_memory + 1);
    o->buffer = malloc(BUFFER_SIZE);
    cookie_io_functions_t doors = {.read = overlay_read, .seek = overlay_seek, .close = overlay_close};
    FILE *file = NULL;
    if (o->fds != NULL && o->bytes != NULL && o->buffer != NULL && spans_fill(o, parts, n_parts) == 0)
        file = fopencookie(o, "rb", doors);
    if (file == NULL) {
        int reason = errno;
        overlay_close(o);
        errno = reason;
        return NULL;
    }
    setvbuf(file, o->buffer, _IOFBF, BUFFER_SIZE); /* with NULL for the buffer glibc ignores the size */
    return file;
}
