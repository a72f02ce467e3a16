// Statistics over the members of one bar, bar after bar.
//
//     order    | 4 9 17 | 5 10 18 30 | 11 19 31 | ...      row numbers, bar after bar, instruments in the panel's order
//     bounds   0        3            7          10         order[bounds[t] : bounds[t + 1]] are the members of bar t
//
// A statistic sees the observations of a bar (finite values) packed together and writes to their rows; rows that it does
// not name stay as they are.  Bars know nothing of each other, so any part of them may run on any thread.
//
// Rounding: sums run in four lanes of float64 over packed values, deviations are taken from a mean that is corrected by
// the mean of the deviations (equal values deviate by exactly 0), and a bar whose numbers would overflow when squared is
// first scaled by a power of two.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace qlib_crosssection {

using Index = std::ptrdiff_t;
using Row = std::int64_t;

// ------------------------------------------------------------------------------------------------ the order in time
// Runs of rows low[k] : high[k], the first of each at calendar position position[k], to rows by bar: a counting sort.
// `bounds` has bars + 1 entries, bar 0 is position `earliest`; `order` takes every row of every run.
inline void order_in_time(const Row* low, const Row* high, const Row* position, Index runs, Row earliest, Index bars,
                          Row* bounds, Row* order) {
    std::vector<Row> next(std::size_t(bars) + 1, 0);
    for (Index k = 0; k < runs; ++k) {
        if (low[k] == high[k]) continue;  // its position may lie outside
        ++next[std::size_t(position[k] - earliest)];
        --next[std::size_t(position[k] - earliest + (high[k] - low[k]))];
    }
    Row alive = 0, before = 0;
    for (Index t = 0; t < bars; ++t) {
        alive += next[std::size_t(t)];
        bounds[t] = next[std::size_t(t)] = before;
        before += alive;
    }
    bounds[bars] = before;
    for (Index k = 0; k < runs; ++k) {
        Index at = Index(position[k] - earliest);
        for (Row row = low[k]; row < high[k]; ++row, ++at) order[next[std::size_t(at)]++] = row;
    }
}

// ------------------------------------------------------------------------------------------------ arithmetic of a bar
struct Column {
    const void* values;
    bool wide;  // float64, else float32

    double at(Row row) const {
        return wide ? static_cast<const double*>(values)[row] : double(static_cast<const float*>(values)[row]);
    }
};

template <class Term>
double add(Index n, const Term& term) {
    double lane[4] = {0, 0, 0, 0};
    Index i = 0;
    for (; i + 3 < n; i += 4)
        for (Index k = 0; k < 4; ++k) lane[k] += term(i + k);
    for (; i < n; ++i) lane[0] += term(i);
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

inline double dot(const double* x, const double* y, Index n) {
    return add(n, [x, y](Index i) { return x[i] * y[i]; });
}

// Multiply the values by the power of two that makes their squares safe, and return it; nearly always 1.
inline double settle(double* x, Index n) {
    double largest = 0;
    for (Index i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
    if (largest == 0 || (largest > 0x1p-400 && largest < 0x1p400)) return 1;
    const double unit = std::ldexp(1.0, std::min(-std::ilogb(largest), 1000));
    for (Index i = 0; i < n; ++i) x[i] *= unit;
    return unit;
}

struct Centre {
    double mean, squares;  // of the values; of their deviations, summed
};

// Replace the values by their deviations from the mean.
inline Centre centre(double* x, Index n) {
    const double rough = add(n, [x](Index i) { return x[i]; }) / double(n);
    for (Index i = 0; i < n; ++i) x[i] -= rough;
    const double rest = add(n, [x](Index i) { return x[i]; }) / double(n);
    for (Index i = 0; i < n; ++i) x[i] -= rest;
    return {rough + rest, dot(x, x, n)};
}

// Whether the values vary less than `tolerance` of their level.
inline bool flat(const Centre& c, Index n, double tolerance) {
    const double least = tolerance * c.mean;
    return !(c.squares > double(n) * least * least);
}

// ------------------------------------------------------------------------------------------------ order of a bar
template <class Key>
struct Keyed {
    Key key;
    std::uint32_t place;
};

// Whole numbers that ascend like the floats; both zeros are one.
inline std::uint32_t ascending(float x) {
    std::uint32_t bits;
    x += 0.0F;
    std::memcpy(&bits, &x, sizeof bits);
    return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}
inline std::uint64_t ascending(double x) {
    std::uint64_t bits;
    x += 0.0;
    std::memcpy(&bits, &x, sizeof bits);
    return (bits >> 63) != 0 ? ~bits : bits | 0x8000000000000000U;
}

// Sort by key, equal keys in their order; the answer lies in `a` or in `b`, and is returned.
template <class Key>
Keyed<Key>* sort(Keyed<Key>* a, Keyed<Key>* b, Index n) {
    if (n <= 48) {
        for (Index i = 1; i < n; ++i) {
            const Keyed<Key> one = a[i];
            Index k = i;
            for (; k > 0 && a[k - 1].key > one.key; --k) a[k] = a[k - 1];
            a[k] = one;
        }
        return a;
    }
    constexpr int digits = int(sizeof(Key));
    std::uint32_t count[digits][256] = {};
    for (Index i = 0; i < n; ++i)
        for (int d = 0; d < digits; ++d) ++count[d][(a[i].key >> (8 * d)) & 255U];
    for (int d = 0; d < digits; ++d) {
        std::uint32_t* const own = count[d];
        if (own[(a[0].key >> (8 * d)) & 255U] == std::uint32_t(n)) continue;
        std::uint32_t before = 0;
        for (int v = 0; v < 256; ++v) {
            const std::uint32_t here = own[v];
            own[v] = before;
            before += here;
        }
        for (Index i = 0; i < n; ++i) b[own[(a[i].key >> (8 * d)) & 255U]++] = a[i];
        std::swap(a, b);
    }
    return a;
}

// ------------------------------------------------------------------------------------------------ the bars
// What the statistics work in: as long as the widest bar.
struct Scratch {
    explicit Scratch(Index widest, Index columns)
        : widest(widest), values(std::size_t(widest * columns)), rows(std::size_t(widest)) {}

    double* column(Index j) { return values.data() + j * widest; }

    Index widest;
    std::vector<double> values;
    std::vector<Row> rows;
    std::vector<Keyed<std::uint32_t>> narrow[2];
    std::vector<Keyed<std::uint64_t>> broad[2];
};

struct Bar {
    const Row* rows;  // the members'
    Index members;
};

// Pack the members' finite values and their rows; return how many there are.
template <class T>
Index observe(const T* x, const Bar& bar, double* value, Row* row) {
    Index n = 0;
    for (Index i = 0; i < bar.members; ++i) {
        const double now = double(x[bar.rows[i]]);
        value[n] = now;
        row[n] = bar.rows[i];
        n += Index(std::isfinite(now));
    }
    return n;
}

inline Index observe(const Column& x, const Bar& bar, double* value, Row* row) {
    return x.wide ? observe(static_cast<const double*>(x.values), bar, value, row)
                  : observe(static_cast<const float*>(x.values), bar, value, row);
}

// The same of several columns, where every one of them is finite; column j goes to s.column(j).
inline Index observe_all(const Column* columns, Index count, const Bar& bar, Scratch& s) {
    Index n = 0;
    for (Index i = 0; i < bar.members; ++i) {
        bool all = true;
        for (Index j = 0; j < count; ++j) {
            const double now = columns[j].at(bar.rows[i]);
            s.column(j)[n] = now;
            all = all && std::isfinite(now);
        }
        s.rows[std::size_t(n)] = bar.rows[i];
        n += Index(all);
    }
    return n;
}

// Place among the observations, ties sharing the mean of theirs, less `shift`, divided by their number.
template <class T, class Key>
void rank(const T* x, const Bar& bar, double shift, std::vector<Keyed<Key>>* keyed, Row* row, double* out) {
    Keyed<Key>*a = keyed[0].data(), *b = keyed[1].data();
    Index n = 0;
    for (Index i = 0; i < bar.members; ++i) {
        const T now = x[bar.rows[i]];
        a[n] = {ascending(now), std::uint32_t(n)};
        row[n] = bar.rows[i];
        n += Index(std::isfinite(now));
    }
    a = sort(a, b, n);
    for (Index i = 0, end = 0; i < n; i = end) {
        for (end = i + 1; end < n && a[end].key == a[i].key;) ++end;
        const double place = (double(i + end + 1) / 2 - shift) / double(n);
        for (Index k = i; k < end; ++k) out[row[a[k].place]] = place;
    }
}

struct Rank {
    static void run(const Column* x, Index, const Bar& bar, double shift, Scratch& s, double* out) {
        const std::size_t size = std::size_t(s.widest);
        if (x->wide) {
            for (auto& one : s.broad) one.resize(size);
            rank(static_cast<const double*>(x->values), bar, shift, s.broad, s.rows.data(), out);
        } else {
            for (auto& one : s.narrow) one.resize(size);
            rank(static_cast<const float*>(x->values), bar, shift, s.narrow, s.rows.data(), out);
        }
    }
};

// Deviation from the mean over the standard deviation (n - 1); nothing where the values are flat.
struct ZScore {
    static void run(const Column* x, Index, const Bar& bar, double tolerance, Scratch& s, double* out) {
        double* const d = s.column(0);
        const Index n = observe(*x, bar, d, s.rows.data());
        if (n < 2) return;
        settle(d, n);
        const Centre c = centre(d, n);
        if (flat(c, n, tolerance)) return;
        const double deviation = std::sqrt(c.squares / double(n - 1));
        for (Index i = 0; i < n; ++i) out[s.rows[std::size_t(i)]] = d[i] / deviation;
    }
};

struct Demean {
    static void run(const Column* x, Index, const Bar& bar, double, Scratch& s, double* out) {
        double* const d = s.column(0);
        const Index n = observe(*x, bar, d, s.rows.data());
        if (n == 0) return;
        const double unit = settle(d, n);
        centre(d, n);
        for (Index i = 0; i < n; ++i) out[s.rows[std::size_t(i)]] = d[i] / unit;
    }
};

// Multiples of the values whose absolute values add up to `total`; nothing where all are 0.
struct Scale {
    static void run(const Column* x, Index, const Bar& bar, double total, Scratch& s, double* out) {
        double* const d = s.column(0);
        const Index n = observe(*x, bar, d, s.rows.data());
        settle(d, n);
        const double size = add(n, [d](Index i) { return std::fabs(d[i]); });
        if (!(size > 0)) return;
        for (Index i = 0; i < n; ++i) out[s.rows[std::size_t(i)]] = d[i] / size * total;
    }
};

inline void everywhere(double value, const Bar& bar, double* out) {
    for (Index i = 0; i < bar.members; ++i) out[bar.rows[i]] = value;
}

// The q-quantile, linear between neighbours, on the row of every member.
struct Quantile {
    static void run(const Column* x, Index, const Bar& bar, double q, Scratch& s, double* out) {
        double* const v = s.column(0);
        const Index n = observe(*x, bar, v, s.rows.data());
        if (n == 0) return;
        const double place = q * double(n - 1);
        const Index low = std::min(Index(place), n - 1);
        std::nth_element(v, v + low, v + n);
        double value = v[low];
        if (place > double(low) && low + 1 < n) {
            const double above = *std::min_element(v + low + 1, v + n), part = place - double(low);
            const double step = above - value;
            value = std::isfinite(step) ? value + step * part : value * (1 - part) + above * part;
        }
        everywhere(value, bar, out);
    }
};

// Pearson's correlation on the row of every member; nothing where either series is flat.
struct Corr {
    static void run(const Column* columns, Index, const Bar& bar, double tolerance, Scratch& s, double* out) {
        const Index n = observe_all(columns, 2, bar, s);
        if (n < 2) return;
        Centre c[2];
        for (Index j = 0; j < 2; ++j) {
            settle(s.column(j), n);
            c[j] = centre(s.column(j), n);
            if (flat(c[j], n, tolerance)) return;
        }
        const double r = dot(s.column(0), s.column(1), n) / (std::sqrt(c[0].squares) * std::sqrt(c[1].squares));
        everywhere(std::max(-1.0, std::min(r, 1.0)), bar, out);
    }
};

// What least squares leave of column 0: columns 1 ... are the factors, and every group has an intercept of its own (one
// group, or with `Grouped` the equal values of the last column).
//
// Modified Gram-Schmidt with column pivoting, every factor and the series orthogonalised twice.  A factor takes part as
// long as what the intercepts and the factors before it leave of it exceeds `tolerance` of its size; so a constant or
// repeated factor changes nothing.  Nothing where there are no more observations than coefficients.
template <bool Grouped>
struct Neutralize {
    static constexpr double rounding = 1e-13;  // a remainder that is smaller, relative to the series, is 0

    static void run(const Column* columns, Index count, const Bar& bar, double tolerance, Scratch& s, double* out) {
        const Index n = observe_all(columns, count, bar, s);
        if (n == 0) return;
        const Index last = Grouped ? count - 1 : count, factors = last - 1;
        const std::vector<Index> ends = Grouped ? grouped(n, last, s) : std::vector<Index>{n};
        if (factors > 0 && n <= Index(ends.size()) + factors) return;

        double unit = 1, whole = 0;
        std::vector<double> size(std::size_t(last), 0.0), left(std::size_t(last), 0.0);
        for (Index j = 0; j < last; ++j) {
            double* const v = s.column(j);
            const double by = settle(v, n);
            if (j == 0) unit = by;
            size[std::size_t(j)] = dot(v, v, n);
            Index low = 0;
            for (const Index high : ends) {
                centre(v + low, high - low);
                low = high;
            }
            left[std::size_t(j)] = dot(v, v, n);
        }
        whole = size[0];

        double* const x = s.column(0);
        std::vector<const double*> base;
        while (Index(base.size()) < factors) {
            Index best = 0;
            double share = tolerance * tolerance;
            for (Index j = 1; j < last; ++j)
                if (left[std::size_t(j)] > share * size[std::size_t(j)]) {
                    share = left[std::size_t(j)] / size[std::size_t(j)];
                    best = j;
                }
            if (best == 0) break;
            double* const q = s.column(best);
            for (const double* before : base) less(q, before, n);
            const double length = std::sqrt(dot(q, q, n));
            left[std::size_t(best)] = 0;
            for (Index i = 0; i < n; ++i) q[i] /= length;
            for (Index j = 1; j < last; ++j)
                if (left[std::size_t(j)] > 0) {
                    less(s.column(j), q, n);
                    left[std::size_t(j)] = dot(s.column(j), s.column(j), n);
                }
            less(x, q, n);
            base.push_back(q);
        }
        for (const double* q : base) less(x, q, n);
        const bool nothing = !base.empty() && !(dot(x, x, n) > rounding * rounding * whole);
        for (Index i = 0; i < n; ++i) out[s.rows[std::size_t(i)]] = nothing ? 0.0 : x[i] / unit;
    }

    // x minus its part along q, which has length 1.
    static void less(double* x, const double* q, Index n) {
        const double along = dot(x, q, n);
        for (Index i = 0; i < n; ++i) x[i] -= along * q[i];
    }

    // Bring the observations of equal values of column `by` together; return where each group ends.
    static std::vector<Index> grouped(Index n, Index by, Scratch& s) {
        for (auto& one : s.broad) one.resize(std::size_t(s.widest));
        for (Index i = 0; i < n; ++i) s.broad[0][std::size_t(i)] = {ascending(s.column(by)[i]), std::uint32_t(i)};
        const Keyed<std::uint64_t>* const sorted = sort(s.broad[0].data(), s.broad[1].data(), n);
        std::vector<double> moved(std::size_t(n), 0.0);
        for (Index j = 0; j < by; ++j) {
            for (Index i = 0; i < n; ++i) moved[std::size_t(i)] = s.column(j)[sorted[i].place];
            std::copy(moved.begin(), moved.end(), s.column(j));
        }
        std::vector<Row> rows(std::size_t(n), 0);
        for (Index i = 0; i < n; ++i) rows[std::size_t(i)] = s.rows[sorted[i].place];
        std::copy(rows.begin(), rows.end(), s.rows.begin());
        std::vector<Index> ends;
        for (Index i = 1; i <= n; ++i)
            if (i == n || sorted[i].key != sorted[i - 1].key) ends.push_back(i);
        return ends;
    }
};

// ------------------------------------------------------------------------------------------------ by name
using Statistic = void (*)(const Column*, Index, const Bar&, double, Scratch&, double*);

struct Entry {
    const char* name;
    Statistic statistic;
    Index least, most;  // columns; most 0: any number
};

inline const Entry* find(const char* name) {
    static const Entry table[] = {
        {"rank", Rank::run, 1, 1},
        {"zscore", ZScore::run, 1, 1},
        {"demean", Demean::run, 1, 1},
        {"scale", Scale::run, 1, 1},
        {"quantile", Quantile::run, 1, 1},
        {"corr", Corr::run, 2, 2},
        {"neutralize", Neutralize<false>::run, 1, 0},
        {"neutralize_within", Neutralize<true>::run, 2, 0},
    };
    for (const Entry& entry : table)
        if (std::strcmp(entry.name, name) == 0) return &entry;
    return nullptr;
}

// Run a statistic over bars first ... last - 1; `out` has a value per row and comes filled (with NaN).
inline void run(const Entry* entry, const Column* columns, Index count, const Row* order, const Row* bounds, Index first,
                Index last, double parameter, double* out) {
    Index widest = 0;
    for (Index t = first; t < last; ++t) widest = std::max(widest, Index(bounds[t + 1] - bounds[t]));
    if (widest == 0) return;
    Scratch scratch(widest, count);
    for (Index t = first; t < last; ++t) {
        const Bar bar{order + bounds[t], Index(bounds[t + 1] - bounds[t])};
        if (bar.members > 0) entry->statistic(columns, count, bar, parameter, scratch, out);
    }
}

}  // namespace qlib_crosssection
