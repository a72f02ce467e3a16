// Many `.bin` files into one array of floats: open, read, close, by several threads, each system call at most once.
//
//   threads     |  instruments 0 ... 4  |  instruments 5 ... 9  |        runs of whole instruments
//   arena       |close open|close|close open|....     |close open|....    packed from the left of each thread's part
//
// This file knows the ordinary case only: a file that is whole, sound and inside its calendar. Anything else is marked
// ODD and left to read_bin (binary.py), which either reads it or says what is wrong with it, always in the same words.
// What is untouched of the arena costs no memory: the system gives pages when they are written.
#pragma once

#include <cstdint>

#ifdef _WIN32

namespace qlib_storage {
constexpr bool available = false;

inline void read_files(const char*, const char* const*, std::int64_t, const char* const*, std::int64_t, std::int64_t,
                       std::int64_t, std::int64_t, std::int64_t, float*, const std::int64_t*, std::int64_t*,
                       std::int64_t*, std::int64_t*) {}

inline void measure_files(const char*, const char* const*, std::int64_t, const char* const*, std::int64_t,
                          std::int64_t*) {}
}  // namespace qlib_storage

#else

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace qlib_storage {

// The header and the values lie in the file as little-endian float32, and are used as they are.
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
constexpr bool available = false;
#else
constexpr bool available = true;
#endif

constexpr std::int64_t absent = -1;           // count of a file that does not exist
constexpr std::int64_t odd = -2;              // count of one that read_bin must look at
constexpr std::int64_t last_position = 1 << 24;  // LAST_POSITION of binary.py
constexpr std::int64_t head_bytes = 1 << 18;  // read in one call at most
constexpr std::int64_t waste_bytes = 1 << 13;  // copying so much before the wanted part is cheaper than two more calls

// The folder `features`, held open while its files are read: shorter paths, and all files are of one store even if
// another one is moved into its place meanwhile.
class Top {
  public:
    explicit Top(const char* path) : name(path) {
#ifdef O_PATH
        handle = ::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
#else
        handle = ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
#endif
    }
    ~Top() {
        if (handle >= 0) ::close(handle);
    }
    Top(const Top&) = delete;
    Top& operator=(const Top&) = delete;

    std::string name;
    int handle;
};

// The path of one file after the other; never allocates once made.
class Path {
  public:
    Path(const Top& top, const char* const* folders, std::int64_t n, const char* const* endings, std::int64_t m)
        : at(top.handle) {
        std::size_t folder = 0, ending = 0;
        for (std::int64_t i = 0; i < n; ++i) folder = std::max(folder, std::strlen(folders[i]));
        for (std::int64_t j = 0; j < m; ++j) ending = std::max(ending, std::strlen(endings[j]));
        text.reserve(top.name.size() + folder + ending + 2);
        if (at < 0) {  // a folder that cannot be opened can perhaps be passed through
            at = AT_FDCWD;
            text.append(top.name).append("/");
        }
        begin = text.size();
    }
    void enter(const char* folder) {
        text.resize(begin);
        text += folder;
        text += '/';
        inside = text.size();
    }
    const char* file(const char* ending) {
        text.resize(inside);
        text += ending;
        return text.c_str();
    }
    int at;

  private:
    std::string text;
    std::size_t begin = 0, inside = 0;
};

// Read until `wanted` bytes are there or the file ends; -1 for an error.
inline std::int64_t read_some(int handle, char* into, std::int64_t wanted, std::int64_t from) {
    std::int64_t done = 0;
    while (done < wanted) {
        const ssize_t piece = ::pread(handle, into + done, static_cast<std::size_t>(wanted - done), from + done);
        if (piece < 0 && errno == EINTR) continue;
        if (piece < 0) return -1;
        if (piece == 0) break;
        done += piece;
    }
    return done;
}

struct Wanted {
    std::int64_t first, last, entries;

    // How much of a file is read into the scratch buffer before anything is known of it. A series that starts at
    // position 0 has 4 * first bytes before the wanted part, which ends with position `last` in any series.
    std::int64_t head() const {
        constexpr std::int64_t width = sizeof(float);
        return first * width <= waste_bytes ? std::min(head_bytes, (last + 2) * width) : width;
    }
};

// Put what the open file holds at the wanted positions to `into`, where `room` values fit; return how many.
inline std::int64_t read_open(int handle, const Wanted& wanted, char* scratch, float* into, std::int64_t room,
                              std::int64_t& begin) {
    constexpr std::int64_t width = sizeof(float);
    std::int64_t head, got;
    if (wanted.first == 0) {  // then values are wanted from the first on, and go where they belong at once
        head = width + std::min(room, wanted.last + 1) * width;
        const iovec parts[2] = {{scratch, width}, {into, static_cast<std::size_t>(head - width)}};
        do got = ::preadv(handle, parts, 2, 0);
        while (got < 0 && errno == EINTR);
        if (got >= width && got < head) {
            const std::int64_t more = read_some(handle, reinterpret_cast<char*>(into) + got - width, head - got, got);
            got = more < 0 ? more : got + more;
        }
    } else {
        head = wanted.head();
        got = read_some(handle, scratch, head, 0);
    }
    if (got < 0) return odd;
    std::int64_t size = got;
    if (got == head) {
        struct stat about;
        if (::fstat(handle, &about) != 0 || !S_ISREG(about.st_mode)) return odd;
        size = about.st_size;
    }
    if (size == 0) {
        begin = wanted.first;
        return 0;
    }
    if (size % width || got < width || size < got) return odd;
    float header;
    std::memcpy(&header, scratch, width);
    if (!(header >= 0 && header <= static_cast<float>(last_position))) return odd;  // NaN too
    const std::int64_t start = static_cast<std::int64_t>(header);
    if (static_cast<float>(start) != header) return odd;
    const std::int64_t count = size / width - 1;
    if (start + count > wanted.entries) return odd;
    begin = std::max(wanted.first, start);
    const std::int64_t end = std::min(wanted.last, start + count - 1) + 1;
    if (end <= begin) return 0;
    if (end - begin > room) return odd;  // it grew since it was measured
    const std::int64_t from = (1 + begin - start) * width, bytes = (end - begin) * width;
    if (from + bytes <= got) {
        if (wanted.first > 0) std::memcpy(into, scratch + from, static_cast<std::size_t>(bytes));
    } else if (read_some(handle, reinterpret_cast<char*>(into), bytes, from) != bytes) {
        return odd;
    }
    return end - begin;
}

inline std::int64_t read_file(const Path& path, const char* file, const Wanted& wanted, char* scratch, float* into,
                              std::int64_t room, std::int64_t& begin) {
    int handle;
    do handle = ::openat(path.at, file, O_RDONLY | O_CLOEXEC);
    while (handle < 0 && errno == EINTR);
    if (handle < 0) return errno == ENOENT ? absent : odd;
    const std::int64_t found = read_open(handle, wanted, scratch, into, room, begin);
    ::close(handle);
    return found;
}

// Read positions first ... last of the files top/folders[i]/endings[j].
//
// Instrument i writes into values[room[i] ... room[i + 1]), or further left. offset, first and count are (n, m): where
// the series begins in `values`, at which calendar position, and how many values there are (or absent, or odd).
inline void read_files(const char* top_name, const char* const* folders, std::int64_t n, const char* const* endings,
                       std::int64_t m, std::int64_t first, std::int64_t last, std::int64_t entries,
                       std::int64_t threads, float* values, const std::int64_t* room, std::int64_t* offset,
                       std::int64_t* begin, std::int64_t* count) {
    const Top top(top_name);
    const Wanted wanted{first, last, entries};
    threads = std::max<std::int64_t>(1, std::min(threads, n));
    std::vector<std::unique_ptr<char[]>> scratches;  // all memory is taken here: a thread must not throw
    std::vector<Path> paths;
    for (std::int64_t k = 0; k < threads; ++k) {
        scratches.emplace_back(new char[wanted.head()]);
        paths.emplace_back(top, folders, n, endings, m);
    }

    const auto part = [&](std::int64_t k) {
        const std::int64_t low = n * k / threads, high = n * (k + 1) / threads;
        Path& path = paths[k];
        std::int64_t next = room[low];
        for (std::int64_t i = low; i < high; ++i) {
            path.enter(folders[i]);
            for (std::int64_t j = 0; j < m; ++j) {
                const std::int64_t cell = i * m + j;
                begin[cell] = first;
                offset[cell] = next;
                count[cell] = read_file(path, path.file(endings[j]), wanted, scratches[k].get(), values + next,
                                        room[high] - next, begin[cell]);
                next += std::max<std::int64_t>(count[cell], 0);
            }
        }
    };

    std::vector<std::thread> others;
    others.reserve(threads);
    for (std::int64_t k = 1; k < threads; ++k) {
        try {
            others.emplace_back(part, k);
        } catch (const std::system_error&) {  // no more threads to be had
            part(k);
        }
    }
    part(0);
    for (std::thread& other : others) other.join();
}

// How many values each file can hold at most: from its size; 0 where it cannot be looked at.
inline void measure_files(const char* top_name, const char* const* folders, std::int64_t n, const char* const* endings,
                          std::int64_t m, std::int64_t* most) {
    const Top top(top_name);
    Path path(top, folders, n, endings, m);
    for (std::int64_t i = 0; i < n; ++i) {
        path.enter(folders[i]);
        for (std::int64_t j = 0; j < m; ++j) {
            struct stat about;
            const bool known = ::fstatat(path.at, path.file(endings[j]), &about, 0) == 0;
            most[i * m + j] = known ? about.st_size / static_cast<std::int64_t>(sizeof(float)) : 0;
        }
    }
}

}  // namespace qlib_storage

#endif
