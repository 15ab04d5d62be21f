/* The overlay against the same bytes in memory: in order, at random places, over many parts; cut files; refusals. */
#include "check.h"
#include "noise.h"
#include "overlay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { FILE_SIZE = 3 << 20 };

static uint64_t drawn = 0;
static int64_t draw(int64_t below) {
    return (int64_t)(noise_uniform(2024, (uint32_t)drawn++) * (double)below);
}

static int n_open(void) {
    int n = 0;
    DIR *fds = opendir("/proc/self/fd");
    for (struct dirent *fd; (fd = readdir(fds)) != NULL;)
        n++;
    closedir(fds);
    return n;
}

static int file_make(char *bytes) {
    char path[] = "/tmp/overlay-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && unlink(path) == 0, "%s", path);
    for (int64_t i = 0; i < FILE_SIZE; i++)
        bytes[i] = (char)noise_bits(7, (uint32_t)i);
    CHECK(write(fd, bytes, FILE_SIZE) == FILE_SIZE, "write");
    return fd;
}

/* n_parts parts of all three sorts, a fifth of them empty; what they amount to goes to wanted. */
static int64_t parts_make(overlay_part *parts, int n_parts, int fd, const char *bytes, char *wanted) {
    int64_t n_all = 0;
    for (int i = 0; i < n_parts; i++) {
        int64_t length = draw(5) == 0 ? 0 : draw(draw(3) == 0 ? 400000 : 3000), offset = draw(FILE_SIZE - length);
        overlay_part *part = &parts[i];
        *part = (overlay_part){NULL, -1, 0, length};
        switch (draw(3)) {
        case 0: part->bytes = bytes + offset; break;
        case 1: part->fd = fd; part->offset = offset; break;
        default: memset(wanted + n_all, 0, (size_t)length); n_all += length; continue;
        }
        memcpy(wanted + n_all, bytes + offset, (size_t)length);
        n_all += length;
    }
    return n_all;
}

static void order_check(FILE *file, const char *wanted, int64_t n_all) {
    char *got = malloc((size_t)n_all + 1);
    int64_t n_got = 0;
    for (size_t n; (n = fread(got + n_got, 1, (size_t)(1 + draw(100000)), file)) > 0 && n_got <= n_all;)
        n_got += (int64_t)n;
    CHECK(n_got == n_all && feof(file) && !ferror(file), "%ld of %ld bytes", (long)n_got, (long)n_all);
    CHECK(memcmp(got, wanted, (size_t)n_all) == 0, "other bytes");
    free(got);
}

static void places_check(FILE *file, const char *wanted, int64_t n_all) {
    char got[5000];
    for (int i = 0; i < 2000; i++) {
        int64_t at = draw(n_all + 1), n = draw(sizeof got), n_there = n_all - at < n ? n_all - at : n;
        int whence = (int[]){SEEK_SET, SEEK_CUR, SEEK_END}[i % 3];
        int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? ftello(file) : n_all;
        CHECK(fseeko(file, at - base, whence) == 0 && ftello(file) == at, "seek to %ld", (long)at);
        CHECK((int64_t)fread(got, 1, (size_t)n, file) == n_there, "%ld bytes at %ld", (long)n, (long)at);
        CHECK(memcmp(got, wanted + at, (size_t)n_there) == 0, "other bytes at %ld", (long)at);
    }
    CHECK(fseeko(file, -1, SEEK_SET) == -1 && errno == EINVAL, "before the start");
    CHECK(fseeko(file, n_all + 10, SEEK_SET) == 0 && fgetc(file) == EOF && !ferror(file), "behind the end");
}

static void parts_check(int n_parts, int fd, const char *bytes) {
    int n_before = n_open();
    overlay_part *parts = malloc(((size_t)n_parts + 1) * sizeof *parts);
    char *wanted = malloc((size_t)n_parts * 400000 + 1);
    int64_t n_all = parts_make(parts, n_parts, fd, bytes, wanted);
    FILE *file = overlay_open(parts, n_parts);
    CHECK(file != NULL, "%s", strerror(errno));
    free(parts);
    order_check(file, wanted, n_all);
    places_check(file, wanted, n_all);
    CHECK(fputc('x', file) == EOF, "it can be written");
    CHECK(fclose(file) == 0, "fclose");
    CHECK(n_open() == n_before, "descriptors are left open");
    free(wanted);
}

static void cut_check(int fd) {
    overlay_part part = {NULL, fd, 1000, FILE_SIZE - 1000};
    FILE *file = overlay_open(&part, 1);
    CHECK(ftruncate(fd, FILE_SIZE / 2) == 0, "ftruncate");
    char byte;
    CHECK(fseeko(file, FILE_SIZE / 2 - 1001, SEEK_SET) == 0 && fread(&byte, 1, 1, file) == 1, "the last byte there is");
    errno = 0;
    CHECK(fread(&byte, 1, 1, file) == 0 && ferror(file) && errno == EIO, "a cut file reads as %s", strerror(errno));
    fclose(file);
}

/* A span beyond 4 GiB of a file that is mostly a hole. */
static void large_check(int fd) {
    int64_t far = INT64_C(5) << 30;
    CHECK(ftruncate(fd, far + 8) == 0 && pwrite(fd, "overlay", 8, far) == 8, "a large file");
    overlay_part parts[] = {{NULL, -1, 0, 3}, {NULL, fd, 0, far + 8}, {NULL, -1, 0, far}};
    FILE *file = overlay_open(parts, 3);
    char got[8];
    CHECK(fseeko(file, far + 3, SEEK_SET) == 0 && fread(got, 1, 8, file) == 8, "far bytes");
    CHECK(strcmp(got, "overlay") == 0, "other bytes there");
    CHECK(fseeko(file, 0, SEEK_END) == 0 && ftello(file) == 2 * far + 11, "the end is at %ld", (long)ftello(file));
    fclose(file);
}

static void refuse_check(overlay_part second, int reason) {
    int n_before = n_open();
    overlay_part parts[] = {{"abc", -1, 0, 3}, second};
    errno = 0;
    CHECK(overlay_open(parts, 2) == NULL && errno == reason, "refused for %s", strerror(errno));
    CHECK(n_open() == n_before, "descriptors are left open");
}

int main(void) {
    char *bytes = malloc(FILE_SIZE);
    int fd = file_make(bytes);
    static const int counts[] = {0, 1, 2, 3, 10, 200};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        parts_check(counts[i], fd, bytes);
    refuse_check((overlay_part){NULL, -1, 0, -1}, EINVAL);
    refuse_check((overlay_part){NULL, fd, -1, 1}, EINVAL);
    refuse_check((overlay_part){NULL, fd, 5, INT64_MAX}, EINVAL);
    refuse_check((overlay_part){NULL, -1, 0, INT64_MAX}, EINVAL);
    refuse_check((overlay_part){NULL, 1000000, 0, 1}, EBADF);
    CHECK(overlay_open(NULL, -1) == NULL && errno == EINVAL, "less than no parts");
    cut_check(fd);
    large_check(fd);
    close(fd);
    free(bytes);
    return 0;
}
