// The plain lines of a CSV file of bars: a time, numbers, nothing quoted.
//
//     2024-01-02,AAA,1.5,,3e6        ->  seconds since 1970, and one float32 a number column (an empty cell is NaN)
//
// `read` takes what nearly every file holds and answers ODD to anything else: quotes, other spellings of dates and
// numbers, lines of another length. Whoever calls it then reads the file by slower and more patient means, which
// also say what is wrong. So nothing is guessed here, and no message is made here.
//
// Each machine_*.cpp compiles it for one instruction set, ISA; read.hpp asks the machine which it has.
//
// It is fast because no cell waits for the one before: `marks` finds the commas and line ends of a stretch of text
// first, and a number whose ends are known is put together from eight digits at a time, without a branch on its length.

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "read.hpp"

namespace lines {
namespace ISA {

constexpr std::int64_t STRETCH = 1 << 13;
constexpr std::int64_t MOST_COLUMNS = 1 << 12;

inline unsigned digit(char c) { return static_cast<unsigned>(static_cast<unsigned char>(c)) - '0'; }

// Bit i is set where p[i] is `c`, for 64 bytes.
inline std::uint64_t equal(const char *p, char c) {
    std::uint64_t found = 0;
#if defined(__AVX2__)
    const __m256i wanted = _mm256_set1_epi8(c);
    for (int i = 0; i < 2; ++i) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p + 32 * i));
        const unsigned bits = static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, wanted)));
        found |= static_cast<std::uint64_t>(bits) << (32 * i);
    }
#elif defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi8(c);
    for (int i = 0; i < 4; ++i) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 16 * i));
        const unsigned bits = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, wanted)));
        found |= static_cast<std::uint64_t>(bits) << (16 * i);
    }
#else
    for (int i = 0; i < 64; ++i) found |= static_cast<std::uint64_t>(p[i] == c) << i;
#endif
    return found;
}

inline int lowest(std::uint64_t bits) {
#if defined(__GNUC__)
    return __builtin_ctzll(bits);
#else
    int at = 0;
    for (; !(bits & 1); bits >>= 1) ++at;
    return at;
#endif
}

inline std::int64_t several(std::uint64_t bits) {
#if defined(__GNUC__)
    return __builtin_popcountll(bits);
#else
    std::int64_t found = 0;
    for (; bits; bits &= bits - 1) ++found;
    return found;
#endif
}

// The places of commas and line ends in text[begin : stop]; false where there is a quote.
inline bool marks(const char *text, std::int64_t begin, std::int64_t stop, std::int64_t *places, std::int64_t &found) {
    found = 0;
    for (std::int64_t at = begin; at < stop; at += 64) {
        const std::uint64_t inside = stop - at >= 64 ? ~0ull : (1ull << (stop - at)) - 1;
        if (equal(text + at, '"') & inside) return false;
        std::uint64_t bits = (equal(text + at, ',') | equal(text + at, '\n')) & inside;
        const std::int64_t end = found + several(bits);
        do {  // eight at a time, where there are fewer, too: the end of a loop that is guessed wrong takes longer
            for (int i = 0; i < 8; ++i, bits &= bits - 1) places[found + i] = at + lowest(bits | 1ull << 63);
            found += 8;
        } while (found < end);
        found = end;
    }
    return true;
}

// Days since 1970-01-01 of the first day of a month.
inline std::int64_t month_begins(std::int64_t year, int month) {
    year -= month <= 2;
    const std::int64_t era = year / 400, of_era = year - era * 400;
    const std::int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

inline bool two(const char *p, unsigned &value) {
    const unsigned a = digit(p[0]), b = digit(p[1]);
    value = a * 10 + b;
    return a < 10 && b < 10;
}

// "2024-01-02" or "2024-01-02 03:04:05" (or with T); the month of the line before is remembered.
class Times {
  public:
    bool read(const char *p, const char *end, std::int64_t &seconds) {
        if (end - p != 10 && end - p != 19) return false;
        if (std::memcmp(p, last_, 8) != 0 && !month(p)) return false;
        unsigned day, hour = 0, minute = 0, second = 0;
        if (!two(p + 8, day) || day < 1 || day > length_) return false;
        if (end - p == 19) {
            if ((p[10] != ' ' && p[10] != 'T') || p[13] != ':' || p[16] != ':') return false;
            if (!two(p + 11, hour) || !two(p + 14, minute) || !two(p + 17, second)) return false;
            if (hour > 23 || minute > 59 || second > 59) return false;
        }
        seconds = (begins_ + day - 1) * 86400 + hour * 3600 + minute * 60 + second;
        return true;
    }

  private:
    bool month(const char *p) {
        unsigned century, year, month;
        if (!two(p, century) || !two(p + 2, year) || p[4] != '-' || !two(p + 5, month) || p[7] != '-') return false;
        year += century * 100;
        if (month < 1 || month > 12 || year < 1678 || year > 2261) return false;
        const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        length_ = month == 2 ? 28 + leap : 30 + ((month + month / 8) & 1);
        begins_ = month_begins(year, static_cast<int>(month));
        std::memcpy(last_, p, 8);
        return true;
    }

    char last_[8] = {};
    std::int64_t begins_ = 0;
    unsigned length_ = 0;
};

constexpr double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr std::uint64_t TENS[] = {1,         10,         100,         1000,         10000,         100000,
                                  1000000,   10000000,   100000000,   1000000000,   10000000000,   100000000000,
                                  1000000000000, 10000000000000, 100000000000000, 1000000000000000, 10000000000000000};

// Eight characters; the first is the lowest byte. Digits become 0 to 9.
inline std::uint64_t eight(const char *p) {
    std::uint64_t text;
    std::memcpy(&text, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    text = __builtin_bswap64(text);
#endif
    return text ^ 0x3030303030303030;
}

// The highest bit of every byte above 9 (exact up to the lowest such byte).
inline std::uint64_t no_digits(std::uint64_t eight) {
    return ((eight + 0x7676767676767676) | eight) & 0x8080808080808080;
}

inline std::uint64_t together(std::uint64_t eight) {
    eight = eight * 10 + (eight >> 8);
    return (((eight & 0x000000FF000000FF) * 0x000F424000000064) +
            (((eight >> 16) & 0x000000FF000000FF) * 0x0000271000000001)) >> 32;
}

// mantissa * 10**power by one rounding, as both factors are exact; false where they are not.
inline bool scaled(std::uint64_t mantissa, std::int64_t power, bool negative, double &exact) {
    if (mantissa > (1ull << 53) || power < -22 || power > 22) return false;
    exact = static_cast<double>(mantissa);
    exact = power < 0 ? exact / POWERS[-power] : exact * POWERS[power];
    if (negative) exact = -exact;
    return true;
}

// Any [-]digits[.digits][e[+-]digits].
inline bool any_number(const char *p, const char *end, double &exact) {
    const char *begin = p;
    const bool negative = *p == '-';
    p += negative;
    std::uint64_t mantissa = 0;
    std::int64_t digits = 0, power = 0;
    for (; p < end && digit(*p) < 10; ++p, ++digits) mantissa = mantissa * 10 + digit(*p);
    if (p < end && *p == '.') {
        const std::int64_t before = digits;
        for (++p; p < end && digit(*p) < 10; ++p, ++digits) mantissa = mantissa * 10 + digit(*p);
        power = before - digits;
    }
    if (digits == 0) return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        ++p;
        const bool down = p < end && *p == '-';
        p += down || (p < end && *p == '+');
        const char *part = p;
        std::int64_t exponent = 0;
        for (; p < end && digit(*p) < 10 && p - part < 4; ++p) exponent = exponent * 10 + digit(*p);
        if (p == part) return false;
        power += down ? -exponent : exponent;
    }
    if (p != end) return false;
    if (digits <= 19 && scaled(mantissa, power, negative, exact)) return true;
#if defined(__cpp_lib_to_chars)
    const auto done = std::from_chars(begin, end, exact);
    return done.ec == std::errc() && done.ptr == end;
#else
    (void)begin;
    return false;
#endif
}

#if defined(__AVX2__)
// Sixteen bytes for every place of a point in sixteen (16: none): those before it move up by one, which takes it out.
struct Shifts {
    alignas(16) std::uint8_t of[17][16];
    constexpr Shifts() : of() {
        for (int point = 0; point < 17; ++point)
            for (int i = 0; i < 16; ++i)
                of[point][i] = static_cast<std::uint8_t>(point == 16 || i > point ? i : i == 0 ? 0x80 : i - 1);
    }
};
constexpr Shifts SHIFTS;
// The last `length` of sixteen bytes begin at KEEP[length].
alignas(16) constexpr std::int8_t KEEP[32] = {0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                              -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

// 10**-22 to 10**9, most of them rounded, and the same below zero.
constexpr double FACTORS[2][32] = {
    {1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7,
     1e-6,  1e-5,  1e-4,  1e-3,  1e-2,  1e-1,  1e0,   1e1,   1e2,   1e3,   1e4,   1e5,   1e6,   1e7,  1e8,  1e9},
    {-1e-22, -1e-21, -1e-20, -1e-19, -1e-18, -1e-17, -1e-16, -1e-15, -1e-14, -1e-13, -1e-12,
     -1e-11, -1e-10, -1e-9,  -1e-8,  -1e-7,  -1e-6,  -1e-5,  -1e-4,  -1e-3,  -1e-2,  -1e-1,
     -1e0,   -1e1,   -1e2,   -1e3,   -1e4,   -1e5,   -1e6,   -1e7,   -1e8,   -1e9}};

// The usual number: up to fifteen digits and perhaps a point after the sign, and an exponent such as e+06. There is no
// branch on sign or point, and no division: the product may be the float64 beside the nearest one, so one that lies
// about halfway between two float32 is left to `any_number`.
inline bool usual_number(const char *p, const char *end, float &value) {
    const bool negative = *p == '-';
    p += negative;
    std::int64_t power = 22;
    if (end - p > 4 && end[-4] == 'e') {
        unsigned exponent;
        if ((end[-3] != '+' && end[-3] != '-') || !two(end - 2, exponent)) return false;
        power += end[-3] == '-' ? -static_cast<std::int64_t>(exponent) : exponent;
        end -= 4;
    }
    const std::uint64_t length = static_cast<std::uint64_t>(end - p);
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i *>(end - 16));
    const __m128i kept = _mm_loadu_si128(reinterpret_cast<const __m128i *>(KEEP + (length & 31)));
    const __m128i points = _mm_and_si128(_mm_cmpeq_epi8(text, _mm_set1_epi8('.')), kept);
    const int point = lowest(static_cast<unsigned>(_mm_movemask_epi8(points)) | 0x10000u);
    const __m128i digits = _mm_shuffle_epi8(_mm_and_si128(_mm_sub_epi8(text, _mm_set1_epi8('0')), kept),
                                            _mm_load_si128(reinterpret_cast<const __m128i *>(SHIFTS.of[point])));
    const __m128i tens = _mm_set1_epi16(0x010A);          // 10 * the first and the second
    const __m128i hundreds = _mm_set1_epi32(0x00010064);  // 100 * the first and the second
    const __m128i myriads = _mm_set1_epi32(0x00012710);   // 10,000 * the first and the second
    const __m128i fours = _mm_madd_epi16(_mm_maddubs_epi16(digits, tens), hundreds);
    const __m128d halves = _mm_cvtepi32_pd(_mm_madd_epi16(_mm_packus_epi32(fours, fours), myriads));
    const __m128d upper = _mm_mul_sd(halves, _mm_set_sd(1e8));
    power -= point < 16 ? 15 - point : 0;
    const double near = _mm_cvtsd_f64(_mm_add_sd(upper, _mm_unpackhi_pd(halves, halves))) * FACTORS[negative][power & 31];
    value = static_cast<float>(near);
    const __m128i others = _mm_subs_epu8(digits, _mm_set1_epi8(9));
    std::uint64_t bits;
    std::memcpy(&bits, &near, 8);
    return length - (point < 16) - 1 < 15 && _mm_testz_si128(others, others) && static_cast<std::uint64_t>(power) < 32 &&
           (bits & 0x1FFFFFFF) - 0x0FFFFFFC > 8;
}
#else
// Digits at the end of the text before `end`: `length` of them, at most eight, as a number; the rest of eight bytes is
// cut off. `wrong` collects what is no digit.
inline std::uint64_t before(const char *end, std::int64_t length, std::uint64_t &wrong) {
    static constexpr std::uint64_t KEEP[] = {0,
                                             0xFF00000000000000,
                                             0xFFFF000000000000,
                                             0xFFFFFF0000000000,
                                             0xFFFFFFFF00000000,
                                             0xFFFFFFFFFF000000,
                                             0xFFFFFFFFFFFF0000,
                                             0xFFFFFFFFFFFFFF00,
                                             0xFFFFFFFFFFFFFFFF};
    const std::uint64_t kept = eight(end - 8) & KEEP[length];
    wrong |= no_digits(kept);
    return together(kept);
}

// The usual number: up to eight digits, up to sixteen after a point, and an exponent such as e+06.
inline bool usual_number(const char *p, const char *end, float &value) {
    if (p == end) return false;
    const bool negative = *p == '-';
    p += negative;
    std::int64_t power = 0;
    if (end - p > 4 && end[-4] == 'e') {
        unsigned exponent;
        if ((end[-3] != '+' && end[-3] != '-') || !two(end - 2, exponent)) return false;
        power = end[-3] == '-' ? -static_cast<std::int64_t>(exponent) : exponent;
        end -= 4;
    }
    const char *point = p + 1;
    if (*point != '.')  // a number at least: the loop is short, and the same for most cells of a column
        while (point < end && *point != '.') ++point;
    if (point > end || point - p > 8) return false;
    std::uint64_t wrong = 0, mantissa = before(point, point - p, wrong);
    if (point < end) {
        const std::int64_t rest = end - point - 1;
        if (rest > 8) {
            if (rest > 16) return false;
            mantissa = mantissa * TENS[rest - 8] + before(end - 8, rest - 8, wrong);
            mantissa = mantissa * TENS[8] + before(end, 8, wrong);
        } else {
            mantissa = mantissa * TENS[rest] + before(end, rest, wrong);
        }
        power -= rest;
        if (point - p + rest > 19) return false;
    }
    double exact;
    if (wrong != 0 || !scaled(mantissa, power, negative, exact)) return false;
    value = static_cast<float>(exact);
    return !std::isinf(value);
}
#endif

// The nearest float64, then the nearest float32; a finite number too large for that is odd.
inline bool number(const char *p, const char *end, float &value) {
    if (usual_number(p, end, value)) return true;
    if (p == end || (end - p == 3 && (std::memcmp(p, "nan", 3) == 0 || std::memcmp(p, "NaN", 3) == 0))) {
        value = std::numeric_limits<float>::quiet_NaN();
        return true;
    }
    double exact;
    if (!any_number(p, end, exact)) return false;
    value = static_cast<float>(exact);
    return !std::isinf(value);
}

// Read the lines of `text`, whose columns are `kinds`. `times` holds `room` entries, `values` `room` of each number
// column, one column after the other; `name` becomes (place, length) of the one text in the NAME column.
// Returns the number of rows, ODD, or SEVERAL_NAMES.
//
// A stretch of text is read column by column: what comes next in a column is of the same kind and length, mostly.
inline std::int64_t read(const char *text, std::int64_t size, const std::uint8_t *kinds, int columns, std::int64_t room,
                         std::int64_t *times, float *values, std::int64_t *name) {
    static thread_local std::int64_t room_for_places[1 + MOST_COLUMNS + STRETCH + 8];
    std::int64_t *const places = room_for_places + 1;  // places[-1]: the mark before the first cell
    if (columns > MOST_COLUMNS) return ODD;
    Times clock;
    places[-1] = -1;
    std::int64_t row = 0, kept = 0;  // rows that are read, and marks of a line that is not whole yet
    bool several_names = false;
    for (std::int64_t begin = 0; begin < size; begin += STRETCH) {
        const std::int64_t stop = begin + STRETCH < size ? begin + STRETCH : size;
        std::int64_t found;
        if (!marks(text, begin, stop, places + kept, found)) return ODD;
        found += kept;
        if (stop == size && text[size - 1] != '\n') places[found++] = size;  // no last line end
        const std::int64_t rows = found / columns, used = rows * columns;
        if (row + rows > room) return ODD;
        bool odd = false;
        for (std::int64_t i = columns - 1; i < used; i += columns) {
            for (std::int64_t k = i - columns + 1; k < i; ++k) odd |= text[places[k]] != ',';
            odd |= text[places[i]] != '\n' && places[i] != size;
        }
        if (odd) return ODD;
        float *value = values + row;
        for (int column = 0; column < columns; ++column) {
            const bool last = column == columns - 1;
            const auto each = [&](auto &&take) {
                bool wrong = false;
                for (std::int64_t r = 0, at = column; r < rows; ++r, at += columns) {
                    const char *cell = text + places[at - 1] + 1, *end = text + places[at];
                    if (last && end > cell && end[-1] == '\r') --end;
                    wrong |= !take(r, cell, end);
                }
                odd = wrong;
            };
            switch (kinds[column]) {
            case NUMBER:
                each([&](std::int64_t r, const char *cell, const char *end) { return number(cell, end, value[r]); });
                break;
            case TIME:
                each([&](std::int64_t r, const char *cell, const char *end) {
                    return clock.read(cell, end, times[row + r]);
                });
                break;
            case NAME:
                each([&](std::int64_t, const char *cell, const char *end) {
                    if (name[0] < 0) {
                        name[0] = cell - text;
                        name[1] = end - cell;
                    }
                    several_names |= name[1] != end - cell || std::memcmp(text + name[0], cell, end - cell) != 0;
                    return true;
                });
            }
            if (odd) return ODD;
            if (kinds[column] == NUMBER) value += room;
        }
        row += rows;
        kept = found - used;
        if (used) std::memmove(places - 1, places + used - 1, (kept + 1) * sizeof *places);
    }
    if (kept) return ODD;
    return several_names ? static_cast<std::int64_t>(SEVERAL_NAMES) : row;
}

}  // namespace ISA
}  // namespace lines
