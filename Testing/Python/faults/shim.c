/* Makes the n-th operation on a file below a folder fail, for tests: LD_PRELOAD it and arm it through ctypes.

   Operations counted: creating, writing, flushing and renaming. A failure with error 0 loses the bytes of a write and
   reports success, as a failing disk does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static int armed, failing_at, error_number, sticky, count;

void fault_arm(const char *path, int at, int error, int stays) {
  strncpy(folder, path, sizeof folder - 1);
  failing_at = at, error_number = error, sticky = stays, count = 0, armed = 1;
}

int fault_disarm(void) {
  armed = 0;
  return count;
}

static int path_hit(const char *path) {
  if (!armed || !path || !strstr(path, folder)) return 0;
  int now = count++;
  return now == failing_at || (sticky && now > failing_at);
}

static int descriptor_hit(int descriptor) {
  char link[64], path[4096];
  if (!armed) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return path_hit(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(hit, lost)                 \
  if (hit) {                            \
    if (error_number == 0) return lost; \
    errno = error_number;               \
    return -1;                          \
  }

ssize_t write(int d, const void *data, size_t n) {
  FAIL(descriptor_hit(d), (ssize_t)n)
  return REAL(write)(d, data, n);
}

ssize_t pwrite64(int d, const void *data, size_t n, off64_t at) {
  FAIL(descriptor_hit(d), (ssize_t)n)
  return REAL(pwrite64)(d, data, n, at);
}

ssize_t writev(int d, const struct iovec *parts, int n) {
  ssize_t total = 0;
  for (int i = 0; i < n; i++) total += parts[i].iov_len;
  FAIL(descriptor_hit(d), total)
  return REAL(writev)(d, parts, n);
}

int fsync(int d) {
  if (error_number) FAIL(descriptor_hit(d), 0)
  return REAL(fsync)(d);
}

int rename(const char *from, const char *to) {
  if (error_number) FAIL(path_hit(to), 0)
  return REAL(rename)(from, to);
}

#define OPENING(name)                                           \
  int name(const char *path, int flags, ...) {                  \
    mode_t mode = 0;                                            \
    if (flags & O_CREAT) {                                      \
      va_list rest;                                             \
      va_start(rest, flags);                                    \
      mode = va_arg(rest, mode_t);                              \
      va_end(rest);                                             \
      if (error_number) FAIL(path_hit(path), 0)                 \
    }                                                           \
    return REAL(name)(path, flags, mode);                       \
  }

OPENING(open)
OPENING(open64)
