/* A disk that fails on demand: preloaded into a server, it lets calls on files below
 * DRILL_FOLDER fail with EIO for as long as the file DRILL_FLAG exists.
 *
 * The flag says what fails, `sync`, `write` or `short` (writes take half of what they are given),
 * and behind a blank a part of the path that a file must have.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Whether the flag is there and asks for `what` on the file `path`. */
static int asked(const char *what, const char *path) {
    const char *folder = getenv("DRILL_FOLDER"), *flag = getenv("DRILL_FLAG");
    if (folder == NULL || strncmp(path, folder, strlen(folder)) != 0)
        return 0;
    char text[256] = {0};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, flag, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    ssize_t n = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (n <= 0)
        return 0;
    char *part = strchr(text, ' ');
    if (part != NULL)
        *part++ = '\0';
    return strcmp(text, what) == 0 && (part == NULL || strstr(path, part) != NULL);
}

static int armed(void) {
    const char *flag = getenv("DRILL_FLAG");
    return flag != NULL && syscall(SYS_faccessat, AT_FDCWD, flag, F_OK) == 0;
}

static int asked_of_fd(const char *what, int fd) {
    char link[64], path[PATH_MAX] = {0};
    if (!armed())
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof path - 1) > 0 && asked(what, path);
}

/* The file that is mapped at `address`. */
static int asked_of_mapping(const char *what, const void *address) {
    if (!armed())
        return 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        return 0;
    char line[PATH_MAX + 128];
    int found = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        int at = 0;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &from, &to, &at) < 2)
            continue;
        if ((uintptr_t)address < from || (uintptr_t)address >= to)
            continue;
        line[strcspn(line, "\n")] = '\0';
        found = at > 0 && asked(what, line + at);
        break;
    }
    fclose(maps);
    return found;
}

static int refuse(void) {
    errno = EIO;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return asked_of_fd("sync", fd) ? refuse() : REAL(fsync)(fd); }

int fdatasync(int fd) { return asked_of_fd("sync", fd) ? refuse() : REAL(fdatasync)(fd); }

int msync(void *address, size_t len, int flags) {
    extern int msync(void *, size_t, int);
    return asked_of_mapping("sync", address) ? refuse() : REAL(msync)(address, len, flags);
}

/* How much of a write is let through; 0 when it fails. A write of one byte cannot be short. */
static size_t allowed(int fd, size_t len) {
    if (asked_of_fd("write", fd))
        return 0;
    return len > 1 && asked_of_fd("short", fd) ? len / 2 : len;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    size_t part = allowed(fd, len);
    return part == 0 && len > 0 ? refuse() : REAL(write)(fd, bytes, part);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    size_t part = allowed(fd, len);
    return part == 0 && len > 0 ? refuse() : REAL(pwrite)(fd, bytes, part, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    size_t part = allowed(fd, len);
    return part == 0 && len > 0 ? refuse() : REAL(pwrite64)(fd, bytes, part, at);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    return asked_of_fd("write", fd) ? refuse() : REAL(writev)(fd, parts, n);
}
