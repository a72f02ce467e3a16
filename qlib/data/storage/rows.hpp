// Many small files at once, each a head and a row of values: what a store's `.bin` files are.
#pragma once

#include <cstdint>
#if !defined(_WIN32) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define QLIB_ROWS 1
#include <cerrno>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>
#endif

namespace qlib_storage {

#if !defined(QLIB_ROWS)
constexpr bool rows_available = false;
inline int write_rows(const char *, const char *const *, std::int64_t, float, const float *, std::int64_t, std::int64_t) {
    return -1;
}
#else
constexpr bool rows_available = true;

// File i of the folder becomes `head` and the `length` values from values[i * step] on; what was there is gone.
// Returns 0, or the errno of the first file that could not be written.
inline int write_rows(const char *folder, const char *const *names, std::int64_t files, float head, const float *values,
                      std::int64_t step, std::int64_t length) {
    int inside;  // the long way to the folder is gone once
    while ((inside = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        if (errno != EINTR) return errno;
    int error = 0;
    for (std::int64_t i = 0; i < files && !error; ++i) {
        int handle;
        while ((handle = openat(inside, names[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0 && errno == EINTR)
            ;
        if (handle < 0) {
            error = errno;
            break;
        }
        iovec parts[2] = {{&head, sizeof head},
                          {const_cast<float *>(values + i * step), static_cast<std::size_t>(length) * sizeof(float)}};
        iovec *rest = parts;
        while (rest < parts + 2 && !error) {
            ssize_t done = writev(handle, rest, static_cast<int>(parts + 2 - rest));
            if (done < 0) {
                error = errno == EINTR ? 0 : errno;
                continue;
            }
            for (; rest < parts + 2 && static_cast<std::size_t>(done) >= rest->iov_len; ++rest)
                done -= static_cast<ssize_t>(rest->iov_len);
            if (rest < parts + 2) {
                rest->iov_base = static_cast<char *>(rest->iov_base) + done;
                rest->iov_len -= static_cast<std::size_t>(done);
            }
        }
        if (close(handle) != 0 && !error) error = errno;
    }
    close(inside);
    return error;
}
#endif

}  // namespace qlib_storage
