/* Memory, spans of files and zeros, one after the other, read as one FILE*. */
#ifndef HOSHIKAGE_OVERLAY_H
#define HOSHIKAGE_OVERLAY_H

#include <stdint.h>
#include <stdio.h>

/* bytes: memory, copied by overlay_open. Otherwise fd >= 0: that span of the file, which the overlay duplicates.
   Otherwise: zeros. length and offset in bytes. */
typedef struct overlay_part {
    const void *bytes;
    int fd;
    int64_t offset;
    int64_t length;
} overlay_part;

/* Read-only, seekable, with a stdio buffer of 1 MiB; fclose frees everything. NULL and errno on failure.
   A file that has become shorter than its span reads as an error (EIO), never as an early end. */
FILE *overlay_open(const overlay_part *parts, int n_parts);

#endif
