#define ISA v3
#include "lines.hpp"

namespace lines {
std::int64_t read_v3(const char *text, std::int64_t size, const std::uint8_t *kinds, int columns, std::int64_t room,
                     std::int64_t *times, float *values, std::int64_t *name) {
    return v3::read(text, size, kinds, columns, room, times, values, name);
}
}  // namespace lines
