#define ISA baseline
#include "lines.hpp"

namespace lines {
std::int64_t read_baseline(const char *text, std::int64_t size, const std::uint8_t *kinds, int columns, std::int64_t room,
                           std::int64_t *times, float *values, std::int64_t *name) {
    return baseline::read(text, size, kinds, columns, room, times, values, name);
}
}  // namespace lines
