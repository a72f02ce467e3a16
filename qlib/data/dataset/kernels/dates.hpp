// Statistics of one column, date after date, written back to the column itself.
//
//     x        1.2 nan 3.1 | 0.4 2.2 | ...      rows of a date lie together
//     bounds   0             3         5        date k owns the rows bounds[k] : bounds[k + 1]
//
// Sums run in eight lanes of float64 whatever the column's type, so the same column gives the same bits on every machine
// and for any number of threads.  Deviations are summed in a second pass: a large level costs no digits.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace qlib_dates {

using Index = std::ptrdiff_t;
using Bound = std::int64_t;

constexpr double NOTHING = std::numeric_limits<double>::quiet_NaN();
constexpr double MAD_TO_STD = 1.4826;
constexpr Index LANES = 8;

// ------------------------------------------------------------------------------------------------------------- sums
// A value counts unless it is NaN; with `finite` infinity does not count either.
template <bool finite, class T>
inline bool counts(T value) {
    return finite ? value - value == 0 : value == value;
}

// Sum of term(x) over the values that count, and how many they are.
template <bool finite, class T, class Term>
inline double sum(const T* x, Index rows, Index& number, Term term) {
    double lanes[LANES] = {};
    Index seen[LANES] = {};
    Index i = 0;
    for (; i + LANES <= rows; i += LANES)
        for (Index k = 0; k < LANES; ++k) {
            const bool here = counts<finite>(x[i + k]);
            lanes[k] += here ? term(double(x[i + k])) : 0.0;
            seen[k] += here;
        }
    for (Index k = 0; i < rows; ++i, ++k) {
        const bool here = counts<finite>(x[i]);
        lanes[k] += here ? term(double(x[i])) : 0.0;
        seen[k] += here;
    }
    number = 0;
    for (Index k = 0; k < LANES; ++k) number += seen[k];
    for (Index half = LANES / 2; half > 0; half /= 2)
        for (Index k = 0; k < half; ++k) lanes[k] += lanes[k + half];
    return lanes[0];
}

template <bool finite, class T>
inline double mean(const T* x, Index rows, Index& number) {
    const double total = sum<finite>(x, rows, number, [](double value) { return value; });
    return total / double(number);  // NaN where nothing counts
}

template <bool finite, class T>
inline double squares(const T* x, Index rows, double mean) {
    Index number;
    return sum<finite>(x, rows, number, [mean](double value) { return (value - mean) * (value - mean); });
}

template <bool finite, class T>
inline bool all_equal(const T* x, Index rows) {
    Index first = 0;
    while (first < rows && !counts<finite>(x[first])) ++first;
    for (Index i = first; i < rows; ++i)
        if (counts<finite>(x[i]) && x[i] != x[first]) return false;
    return true;
}

// ------------------------------------------------------------------------------------------------------ order of values
// Bits that ascend as floats do; both zeros are one.
inline std::uint32_t key_of(float value) {
    std::uint32_t bits;
    value += 0.0f;
    std::memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

inline float value_of(std::uint32_t key) {
    const std::uint32_t bits = key >> 31 ? key ^ 0x80000000u : ~key;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Placed {
    std::uint32_t key, row;
};

inline std::uint32_t key_of(const Placed& one) { return one.key; }
inline std::uint32_t key_of(std::uint32_t key) { return key; }

constexpr std::size_t SHORT = 48;  // fewer values than this are sorted by comparing them

// Ascending by key: counting sorts by a byte each, of which those are left out that would change nothing.
template <class Item>
void sort_by_key(std::vector<Item>& items, std::vector<Item>& room) {
    const std::size_t number = items.size();
    if (number < SHORT) {
        std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return key_of(a) < key_of(b); });
        return;
    }
    std::uint32_t count[4][256] = {};
    for (const Item& one : items)
        for (int byte = 0; byte < 4; ++byte) ++count[byte][key_of(one) >> (8 * byte) & 255];
    room.resize(number);
    for (int byte = 0; byte < 4; ++byte) {
        std::uint32_t* of = count[byte];
        if (of[key_of(items[0]) >> (8 * byte) & 255] == number) continue;
        std::uint32_t before = 0;
        for (int digit = 0; digit < 256; ++digit) before += std::exchange(of[digit], before);
        for (const Item& one : items) room[of[key_of(one) >> (8 * byte) & 255]++] = one;
        items.swap(room);
    }
}

template <class T>
struct Room;  // memory that one date after the other uses

template <>
struct Room<float> {
    std::vector<Placed> placed, other;
    std::vector<std::uint32_t> keys, spare;
    std::vector<float> values;

    // The values that are not NaN, ascending.
    const std::vector<float>& ascending(const float* x, Index rows) {
        keys.clear();
        for (Index i = 0; i < rows; ++i)
            if (x[i] == x[i]) keys.push_back(key_of(x[i]));
        sort_by_key(keys, spare);
        values.resize(keys.size());
        for (std::size_t i = 0; i < keys.size(); ++i) values[i] = value_of(keys[i]);
        return values;
    }

    // The same with their rows.
    const std::vector<Placed>& order(const float* x, Index rows) {
        placed.clear();
        for (Index i = 0; i < rows; ++i)
            if (x[i] == x[i]) placed.push_back({key_of(x[i]), std::uint32_t(i)});
        sort_by_key(placed, other);
        return placed;
    }
};

struct Wide {
    double key;
    Index row;
};

template <>
struct Room<double> {
    std::vector<Wide> placed;
    std::vector<double> values;

    const std::vector<double>& ascending(const double* x, Index rows) {
        values.clear();
        for (Index i = 0; i < rows; ++i)
            if (x[i] == x[i]) values.push_back(x[i]);
        std::sort(values.begin(), values.end());
        return values;
    }

    const std::vector<Wide>& order(const double* x, Index rows) {
        placed.clear();
        for (Index i = 0; i < rows; ++i)
            if (x[i] == x[i]) placed.push_back({x[i], i});
        std::sort(placed.begin(), placed.end(), [](const Wide& a, const Wide& b) { return a.key < b.key; });
        return placed;
    }
};

template <class T>
inline double median(const std::vector<T>& ascending) {
    const std::size_t number = ascending.size();
    if (number == 0) return NOTHING;
    return (double(ascending[(number - 1) / 2]) + double(ascending[number / 2])) / 2;
}

// The median distance from `middle`, the median: distances grow from the middle outwards on both sides, so the two
// sides are merged as far as half of them.  Distances that are NaN (of infinity from infinity) do not count.
template <class T>
inline double median_distance(const std::vector<T>& ascending, double middle) {
    const Index number = Index(ascending.size());
    if (number == 0 || middle != middle) return NOTHING;
    if (std::isinf(middle)) {
        Index same = 0;
        for (T value : ascending) same += double(value) == middle;
        return same == number ? NOTHING : std::numeric_limits<double>::infinity();
    }
    Index left = (number - 1) / 2, right = left + 1;
    double last = 0, before = 0;
    for (Index taken = 0; taken <= number / 2; ++taken) {
        before = last;
        const double down = left >= 0 ? middle - double(ascending[std::size_t(left)]) : INFINITY;
        const double up = right < number ? double(ascending[std::size_t(right)]) - middle : INFINITY;
        if (right >= number || (left >= 0 && down <= up)) {
            last = down;
            --left;
        } else {
            last = up;
            ++right;
        }
    }
    return number % 2 ? last : (before + last) / 2;
}

// ------------------------------------------------------------------------------------------------------ whole columns
template <bool finite, class T>
void zscore_each(T* x, const Bound* bounds, Index dates) {
    for (Index k = 0; k < dates; ++k) {
        T* own = x + bounds[k];
        const Index rows = Index(bounds[k + 1] - bounds[k]);
        Index number;
        const double middle = mean<finite>(own, rows, number);
        const double spread =
            number > 1 && !all_equal<finite>(own, rows)
                ? std::sqrt(squares<finite>(own, rows, middle) / double(number - 1))
                : NOTHING;  // one value, or equal ones: rounding of the mean must not make a spread of it
        for (Index i = 0; i < rows; ++i) own[i] = T((double(own[i]) - middle) / spread);
    }
}

template <class T>
void zscore_dates(T* x, const Bound* bounds, Index dates, bool finite) {
    finite ? zscore_each<true>(x, bounds, dates) : zscore_each<false>(x, bounds, dates);
}

template <class T>
void robust_dates(T* x, const Bound* bounds, Index dates) {
    Room<T> room;
    for (Index k = 0; k < dates; ++k) {
        T* own = x + bounds[k];
        const Index rows = Index(bounds[k + 1] - bounds[k]);
        const std::vector<T>& ascending = room.ascending(own, rows);
        const double middle = median(ascending), width = median_distance(ascending, middle);
        for (Index i = 0; i < rows; ++i) {
            const double scaled = (double(own[i]) - middle) / width / MAD_TO_STD;
            own[i] = T(scaled < -3.0 ? -3.0 : scaled > 3.0 ? 3.0 : scaled);  // NaN stays
        }
    }
}

// (place / number - centre) * 3.46, where the centre is 0.5 or the mean of place / number, (number + 1) / (2 number).
template <class T>
void rank_dates(T* x, const Bound* bounds, Index dates, bool centred) {
    Room<T> room;
    for (Index k = 0; k < dates; ++k) {
        T* own = x + bounds[k];
        const auto& order = room.order(own, Index(bounds[k + 1] - bounds[k]));
        const std::size_t number = order.size();
        const double centre = centred ? double(number + 1) / (2 * double(number)) : 0.5;
        for (std::size_t first = 0, last; first < number; first = last) {
            for (last = first + 1; last < number && order[last].key == order[first].key;) ++last;
            const double place = double(first + 1 + last) / 2 / double(number);  // equal values share their mean place
            for (std::size_t i = first; i < last; ++i) own[order[i].row] = T((place - centre) * 3.46);
        }
    }
}

template <bool finite, class T>
void fill_each(T* x, const Bound* bounds, Index dates, bool infinite) {
    for (Index k = 0; k < dates; ++k) {
        T* own = x + bounds[k];
        const Index rows = Index(bounds[k + 1] - bounds[k]);
        Index holes = 0, number;
        for (Index i = 0; i < rows; ++i) holes += infinite ? bool(std::isinf(own[i])) : own[i] != own[i];
        if (holes == 0) continue;
        const T middle = T(mean<finite>(own, rows, number));
        for (Index i = 0; i < rows; ++i)
            if (infinite ? bool(std::isinf(own[i])) : own[i] != own[i]) own[i] = middle;
    }
}

template <class T>
void fill_dates(T* x, const Bound* bounds, Index dates, bool infinite, bool finite) {
    finite ? fill_each<true>(x, bounds, dates, infinite) : fill_each<false>(x, bounds, dates, infinite);
}

template <class T>
void median_dates(const T* x, const Bound* bounds, Index dates, double* out) {
    Room<T> room;
    for (Index k = 0; k < dates; ++k) out[k] = median(room.ascending(x + bounds[k], Index(bounds[k + 1] - bounds[k])));
}

// Least, greatest, mean and deviation (ddof 0) of the values that count; NaN where nothing does.
template <bool finite, class T>
void moments_each(const T* x, Index rows, double* out) {
    Index number;
    T least = std::numeric_limits<T>::infinity(), most = -least;
    for (Index i = 0; i < rows; ++i)
        if (counts<finite>(x[i])) {
            least = std::min(least, x[i]);
            most = std::max(most, x[i]);
        }
    const double middle = mean<finite>(x, rows, number);
    out[0] = number ? double(least) : NOTHING;
    out[1] = number ? double(most) : NOTHING;
    out[2] = number && least == most ? double(least) : middle;
    out[3] = number && least == most ? 0.0 : std::sqrt(squares<finite>(x, rows, middle) / double(number));
}

template <class T>
void moments_of(const T* x, Index rows, bool finite, double* out) {
    finite ? moments_each<true>(x, rows, out) : moments_each<false>(x, rows, out);
}

}  // namespace qlib_dates
