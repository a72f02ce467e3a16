// What lines.hpp reads, by the instruction set that this machine has.
#pragma once

#include <cstdint>

namespace lines {

enum Kind : std::uint8_t { SKIP = 0, TIME = 1, NAME = 2, NUMBER = 3 };
enum : std::int64_t { ODD = -1, SEVERAL_NAMES = -2 };
constexpr std::int64_t PADDING = 64;  // bytes that must be readable before and after the text

std::int64_t read_baseline(const char *text, std::int64_t size, const std::uint8_t *kinds, int columns,
                           std::int64_t room, std::int64_t *times, float *values, std::int64_t *name);
std::int64_t read_v3(const char *text, std::int64_t size, const std::uint8_t *kinds, int columns,
                     std::int64_t room, std::int64_t *times, float *values, std::int64_t *name);

inline std::int64_t read(const char *text, std::int64_t size, const std::uint8_t *kinds, int columns,
                         std::int64_t room, std::int64_t *times, float *values, std::int64_t *name,
                         bool baseline) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (!baseline && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
        return read_v3(text, size, kinds, columns, room, times, values, name);
#endif
    (void)baseline;
    return read_baseline(text, size, kinds, columns, room, times, values, name);
}

// How many lines there are at most.
inline std::int64_t count(const char *text, std::int64_t size) {
    std::int64_t found = 1;
    for (std::int64_t at = 0; at < size;) {
        const std::int64_t stop = at + 128 < size ? at + 128 : size;
        std::uint8_t few = 0;  // counting in bytes, 16 at once
        for (; at < stop; ++at) few += text[at] == '\n';
        found += few;
    }
    return found;
}

}  // namespace lines
