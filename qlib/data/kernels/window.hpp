// Rolling statistics over one instrument's series.
//
// A statistic is a struct with push / merge / value; roll() owns the window, so no statistic repeats the loop.
// Nothing is ever subtracted from a running sum.  The calendar is cut into blocks as long as the window:
//
//     ... | tail: sums from row k to the end of the block before | head: sums from the block's first row on | ...
//                      k = i - window + 1                                          i
//
// and the window that ends at row i is merge(tail[k], head).  Three things follow.  A value costs two pushes and one
// merge, whatever the window.  Rounding does not pile up over a long series, and an infinite or missing value is gone
// with the window that held it.  And because blocks are cut at multiples of the window in *calendar* positions, a value
// has the same bits wherever the query began.
//
// Sums are taken about a reference value `c` which lies inside the part it describes, so (mean - c)^2 is at most the sum
// of squared deviations: cancellation costs a factor n at worst, never the price level.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace qlib_kernels {

using Index = std::ptrdiff_t;
constexpr double NaN = std::numeric_limits<double>::quiet_NaN();

// What a statistic may ask when it is turned into a number; rows are counted from the start of the block.
struct View {
    double x;          // the current value
    Index row;         // the current row
    Index from;        // the first row of the window
    double parameter;  // tolerance or whatever the kernel's name says
};

inline bool seen(double x) { return std::isfinite(x); }

// ------------------------------------------------------------------------------------------------ counts and extremes
struct Count {
    double n = 0;
    void push(double, Index) { ++n; }
    static Count merge(const Count& a, const Count& b) { return {a.n + b.n}; }
    double value(const View&) const { return n; }
};

struct CountInfiniteToo : Count {  // Qlib's
    static CountInfiniteToo merge(const CountInfiniteToo& a, const CountInfiniteToo& b) { return {Count::merge(a, b)}; }
    void miss(double x, Index) { n += std::isinf(x); }
};

template <bool Largest>
struct Extreme {
    double best = NaN;
    void push(double x, Index) {
        if (!(Largest ? x <= best : x >= best)) best = x;
    }
    static Extreme merge(const Extreme& a, Extreme b) {
        if (!std::isnan(a.best)) b.push(a.best, 0);
        return b;
    }
    double value(const View&) const { return best; }
};

// 1-based place of the extreme, counted from the oldest row of the window; of equals the oldest.
template <bool Largest>
struct ExtremePlace {
    double best = NaN;
    Index at = 0;
    void push(double x, Index row) {
        const bool better = std::isnan(best) || (Largest ? x > best : x < best) || (x == best && row < at);
        if (better) best = x, at = row;
    }
    static ExtremePlace merge(const ExtremePlace& a, ExtremePlace b) {
        if (!std::isnan(a.best)) b.push(a.best, a.at);
        return b;
    }
    double value(const View& v) const { return std::isnan(best) ? NaN : double(at - v.from + 1); }
};

// Qlib's: where the window has a gap, the place of its first gap (but nothing where it is all gap).
template <bool Largest>
struct ExtremePlaceOrGap {
    ExtremePlace<Largest> place;
    bool gap = false;
    Index gap_at = 0;
    void push(double x, Index row) { place.push(x, row); }
    void miss(double, Index row) { gap_at = gap ? std::min(gap_at, row) : row, gap = true; }
    static ExtremePlaceOrGap merge(const ExtremePlaceOrGap& a, ExtremePlaceOrGap b) {
        b.place = ExtremePlace<Largest>::merge(a.place, b.place);
        if (a.gap) b.miss(NaN, a.gap_at);
        return b;
    }
    double value(const View& v) const {
        return gap && !std::isnan(place.best) ? double(gap_at - v.from + 1) : place.value(v);
    }
};

// ------------------------------------------------------------------------------------------------ sums and moments
struct Sum {
    double n = 0, sum = 0;
    void push(double x, Index) { ++n, sum += x; }
    static Sum merge(const Sum& a, const Sum& b) { return {a.n + b.n, a.sum + b.sum}; }
    double value(const View&) const { return n > 0 ? sum : NaN; }
};

struct Mean {
    double n = 0, c = 0, s = 0;
    void push(double x, Index) {
        if (n == 0) c = x;
        ++n, s += x - c;
    }
    static Mean merge(const Mean& a, const Mean& b) {
        if (a.n == 0) return b;
        if (b.n == 0) return a;
        return {a.n + b.n, b.c, a.s + b.s + a.n * (a.c - b.c)};
    }
    double value(const View&) const { return n > 0 ? c + s / n : NaN; }
};

struct Moments2 {
    double n = 0, c = 0, s = 0, q = 0;
    void push(double x, Index) {
        if (n == 0) c = x;
        const double d = x - c;
        ++n, s += d, q += d * d;
    }
    static Moments2 merge(const Moments2& a, const Moments2& b) {
        if (a.n == 0) return b;
        if (b.n == 0) return a;
        const double d = a.c - b.c;
        return {a.n + b.n, b.c, a.s + b.s + a.n * d, a.q + b.q + d * (2 * a.s + a.n * d)};
    }
    double m2() const { return std::fmax(q - s * s / n, 0.0); }
};

struct Var : Moments2 {
    static Var merge(const Var& a, const Var& b) { return {Moments2::merge(a, b)}; }
    double value(const View&) const { return n > 1 ? m2() / (n - 1) : NaN; }
};

struct Std : Moments2 {
    static Std merge(const Std& a, const Std& b) { return {Moments2::merge(a, b)}; }
    double value(const View&) const { return n > 1 ? std::sqrt(m2() / (n - 1)) : NaN; }
};

// Variation that float32 prices cannot carry is no variation: relative to the level, so no price is too small.
inline bool flat(double m2, double n, double mean, double tolerance) {
    const double level = tolerance * mean;
    return !(m2 > n * level * level);
}

struct Moments4 {
    double n = 0, c = 0, s = 0, q = 0, t = 0, f = 0;  // sums of d, d^2, d^3, d^4
    void push(double x, Index) {
        if (n == 0) c = x;
        const double d = x - c, d2 = d * d;
        ++n, s += d, q += d2, t += d2 * d, f += d2 * d2;
    }
    static Moments4 merge(const Moments4& a, const Moments4& b) {
        if (a.n == 0) return b;
        if (b.n == 0) return a;
        const double d = a.c - b.c, d2 = d * d;
        return {a.n + b.n,
                b.c,
                a.s + b.s + a.n * d,
                a.q + b.q + d * (2 * a.s + a.n * d),
                a.t + b.t + d * (3 * a.q + d * (3 * a.s + a.n * d)),
                a.f + b.f + d * (4 * a.t + d * (6 * a.q + d * (4 * a.s)) + a.n * d2 * d)};
    }
    double mean() const { return c + s / n; }
    double m2() const { return std::fmax(q - s * s / n, 0.0); }
    double m3() const {
        const double m = s / n;
        return t - 3 * m * q + 2 * n * m * m * m;
    }
    double m4() const {
        const double m = s / n;
        return f - 4 * m * t + 6 * m * m * q - 3 * n * m * m * m * m;
    }
};

// parameter >= 0: relative tolerance below which a window is flat (NaN).
// parameter < 0: pandas 2, where a constant window has skewness 0 and a variance below 1e-14 has none.
struct Skew : Moments4 {
    static Skew merge(const Skew& a, const Skew& b) { return {Moments4::merge(a, b)}; }
    double value(const View& v) const {
        if (n < 3) return NaN;
        const double b = m2() / n;
        if (v.parameter < 0 && b == 0) return 0;
        if (v.parameter < 0 ? b <= 1e-14 : flat(n * b, n, mean(), v.parameter)) return NaN;
        return std::sqrt(n * (n - 1)) / (n - 2) * (m3() / n) / (b * std::sqrt(b));
    }
};

struct Kurt : Moments4 {
    static Kurt merge(const Kurt& a, const Kurt& b) { return {Moments4::merge(a, b)}; }
    double value(const View& v) const {
        if (n < 4) return NaN;
        const double b = m2() / n;
        if (v.parameter < 0 && b == 0) return -3;
        if (v.parameter < 0 ? b <= 1e-14 : flat(n * b, n, mean(), v.parameter)) return NaN;
        return ((n * n - 1) * (m4() / n) / (b * b) - 3 * (n - 1) * (n - 1)) / ((n - 2) * (n - 3));
    }
};

// ------------------------------------------------------------------------------------------------ against the row number
struct Line {
    double n = 0, c = 0, i = 0, ii = 0, s = 0, is = 0, q = 0;
    void push(double x, Index row) {
        if (n == 0) c = x;
        const double d = x - c, r = double(row);
        ++n, i += r, ii += r * r, s += d, is += r * d, q += d * d;
    }
    static Line merge(const Line& a, const Line& b) {
        if (a.n == 0) return b;
        if (b.n == 0) return a;
        const double d = a.c - b.c;
        return {a.n + b.n,        b.c, a.i + b.i, a.ii + b.ii, a.s + b.s + a.n * d, a.is + b.is + a.i * d,
                a.q + b.q + d * (2 * a.s + a.n * d)};
    }
    double cross() const { return n * is - i * s; }
    double spread() const { return n * ii - i * i; }
};

struct Slope : Line {
    static Slope merge(const Slope& a, const Slope& b) { return {Line::merge(a, b)}; }
    double value(const View&) const { return n > 1 ? cross() / spread() : NaN; }
};

struct Resi : Line {
    static Resi merge(const Resi& a, const Resi& b) { return {Line::merge(a, b)}; }
    double value(const View& v) const {
        if (n < 2 || !seen(v.x)) return NaN;
        return (v.x - c) - (s / n + cross() / spread() * (double(v.row) - i / n));
    }
};

struct Rsquare : Line {  // parameter: relative tolerance
    static Rsquare merge(const Rsquare& a, const Rsquare& b) { return {Line::merge(a, b)}; }
    double value(const View& v) const {
        if (n < 2) return NaN;
        const double m2 = q - s * s / n;
        if (flat(m2, n, c + s / n, v.parameter)) return NaN;
        return std::fmin(cross() * cross() / (spread() * n * m2), 1.0);
    }
};

// Weights 1..m over the m rows of the window.
// parameter 0: the weighted mean of the values seen; 1: Qlib's, divided by their number once more.
struct WeightedMean : Line {
    static WeightedMean merge(const WeightedMean& a, const WeightedMean& b) { return {Line::merge(a, b)}; }
    double value(const View& v) const {
        if (n == 0) return NaN;
        const double before = double(v.from - 1), weight = i - before * n, sum = is - before * s;
        if (v.parameter == 0) return c + sum / weight;
        const double rows = double(v.row - v.from + 1);
        return (c * weight + sum) / (rows * (rows + 1) / 2) / n;
    }
};

// ------------------------------------------------------------------------------------------------ two series
struct Pair {
    double n = 0, cx = 0, cy = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    void push(double left, double right) {
        if (n == 0) cx = left, cy = right;
        const double dx = left - cx, dy = right - cy;
        ++n, x += dx, y += dy, xx += dx * dx, yy += dy * dy, xy += dx * dy;
    }
    static Pair merge(const Pair& a, const Pair& b) {
        if (a.n == 0) return b;
        if (b.n == 0) return a;
        const double dx = a.cx - b.cx, dy = a.cy - b.cy;
        return {a.n + b.n,
                b.cx,
                b.cy,
                a.x + b.x + a.n * dx,
                a.y + b.y + a.n * dy,
                a.xx + b.xx + dx * (2 * a.x + a.n * dx),
                a.yy + b.yy + dy * (2 * a.y + a.n * dy),
                a.xy + b.xy + dx * a.y + dy * a.x + a.n * dx * dy};
    }
};

struct Cov : Pair {
    static Cov merge(const Cov& a, const Cov& b) { return {Pair::merge(a, b)}; }
    double value(double) const { return n > 1 ? (xy - x * y / n) / (n - 1) : NaN; }
};

struct Corr : Pair {
    static Corr merge(const Corr& a, const Corr& b) { return {Pair::merge(a, b)}; }
    double value(double tolerance) const {
        if (n < 2) return NaN;
        const double mx = xx - x * x / n, my = yy - y * y / n;
        if (flat(mx, n, cx + x / n, tolerance) || flat(my, n, cy + y / n, tolerance)) return NaN;
        const double r = (xy - x * y / n) / (std::sqrt(mx) * std::sqrt(my));
        return std::fmax(std::fmin(r, 1.0), -1.0);
    }
};

// ------------------------------------------------------------------------------------------------ the window itself
// Calls body(i, begin, from_tail) for every row, see the picture above; window 0 is everything so far.
template <class Stat, class Push, class Emit>
void slide(Index rows, Index first, Index window, const Push& push, const Emit& emit) {
    if (rows == 0) return;
    if (window == 0) {
        Stat head;
        for (Index i = 0; i < rows; ++i) push(head, i, i), emit(i, head, i, Index(0));
        return;
    }
    std::vector<Stat> tail(std::size_t(std::min(window, rows)));
    Index tail_from = 0;
    for (Index begin = -(first % window); begin < rows; begin += window) {
        const Index low = std::max(begin, Index(0)), high = std::min(begin + window, rows);
        Stat head;
        for (Index i = low; i < high; ++i) {
            push(head, i, i - begin);
            const Index from = std::max(i - window + 1, Index(0));
            if (from < begin)
                emit(i, Stat::merge(tail[std::size_t(from - tail_from)], head), i - begin, from - begin);
            else
                emit(i, head, i - begin, from - begin);
        }
        if (begin + window < rows) {
            Stat back;
            for (Index i = high; i-- > low;) {
                push(back, i, i - (begin + window));
                tail[std::size_t(i - low)] = back;
            }
            tail_from = low;
        }
    }
}

template <class Stat, class In, class Out>
void roll(const In* x, Index rows, Index first, Index window, double parameter, Out* out) {
    slide<Stat>(
        rows, first, window,
        [x](Stat& stat, Index i, Index row) {
            if (seen(double(x[i]))) stat.push(double(x[i]), row);
        },
        [x, out, parameter](Index i, const Stat& stat, Index row, Index from) {
            out[i] = Out(stat.value({double(x[i]), row, from, parameter}));
        });
}

template <class Stat, class In, class Out>
void roll_gaps(const In* x, Index rows, Index first, Index window, double parameter, Out* out) {
    slide<Stat>(
        rows, first, window,
        [x](Stat& stat, Index i, Index row) {
            if (seen(double(x[i])))
                stat.push(double(x[i]), row);
            else
                stat.miss(double(x[i]), row);
        },
        [x, out, parameter](Index i, const Stat& stat, Index row, Index from) {
            out[i] = Out(stat.value({double(x[i]), row, from, parameter}));
        });
}

template <class Stat, class In, class Out>
void roll_pair(const In* x, const In* y, Index rows, Index first, Index window, double parameter, Out* out) {
    slide<Stat>(
        rows, first, window,
        [x, y](Stat& stat, Index i, Index) {
            if (seen(double(x[i])) && seen(double(y[i]))) stat.push(double(x[i]), double(y[i]));
        },
        [out, parameter](Index i, const Stat& stat, Index, Index) { out[i] = Out(stat.value(parameter)); });
}

// ------------------------------------------------------------------------------------------------ order statistics
// The values of a window in order: a sorted array while it is short, a tree of counts over the ranks of the whole
// series when it is long.  Both hand out the k-th value and how many are smaller, so a statistic cannot tell them apart.
template <class In>
class SortedWindow {
  public:
    explicit SortedWindow(Index capacity) : held_(std::size_t(capacity)) {}
    Index size() const { return n_; }
    void insert(In x, Index) {
        const Index at = smaller(x, 0);
        move(at + 1, at, n_++ - at);
        held_[std::size_t(at)] = x;
    }
    void erase(In x, Index) {
        const Index at = smaller(x, 0);
        move(at, at + 1, --n_ - at);
    }
    // The same as erase and insert, moving only what stands between the two.
    void replace(In old, Index, In x, Index) {
        const Index from = smaller(old, 0), to = smaller(x, 0);
        if (to > from)
            move(from, from + 1, to - 1 - from), held_[std::size_t(to - 1)] = x;
        else
            move(to + 1, to, from - to), held_[std::size_t(to)] = x;
    }
    In kth(Index k) const { return held_[std::size_t(k)]; }
    // Counting all beats a binary search, whose branches nobody can predict, while the window is short.
    Index smaller(In x, Index) const {
        if (n_ > 128) return std::lower_bound(held_.begin(), held_.begin() + n_, x) - held_.begin();
        std::conditional_t<sizeof(In) == 4, std::int32_t, std::int64_t> count = 0;  // as wide as In: lanes
        for (Index k = 0; k < n_; ++k) count += held_[std::size_t(k)] < x;
        return Index(count);
    }
    Index equal(In x, Index) const {
        return std::upper_bound(held_.begin(), held_.begin() + n_, x) - held_.begin() - smaller(x, 0);
    }

  private:
    void move(Index to, Index from, Index count) {
        std::memmove(held_.data() + to, held_.data() + from, std::size_t(count) * sizeof(In));
    }
    std::vector<In> held_;
    Index n_ = 0;
};

template <class In>
class CountTree {
  public:
    CountTree(const In* x, Index rows) : rank_(std::size_t(rows)) {
        for (Index i = 0; i < rows; ++i)
            if (seen(double(x[i]))) values_.push_back(x[i]);
        std::sort(values_.begin(), values_.end());
        values_.erase(std::unique(values_.begin(), values_.end()), values_.end());
        for (Index i = 0; i < rows; ++i)
            rank_[std::size_t(i)] = std::lower_bound(values_.begin(), values_.end(), x[i]) - values_.begin();
        tree_.assign(values_.size() + 1, 0);
        count_.assign(values_.size(), 0);
        while (std::size_t(top_) * 2 <= values_.size()) top_ *= 2;
    }
    Index size() const { return n_; }
    void insert(In, Index i) { add(rank_[std::size_t(i)], 1); }
    void erase(In, Index i) { add(rank_[std::size_t(i)], -1); }
    void replace(In, Index old, In, Index i) { add(rank_[std::size_t(old)], -1), add(rank_[std::size_t(i)], 1); }
    In kth(Index k) const {
        Index at = 0, left = k;
        for (Index step = top_; step > 0; step /= 2)
            if (at + step < Index(tree_.size()) && tree_[std::size_t(at + step)] <= left)
                at += step, left -= tree_[std::size_t(at)];
        return values_[std::size_t(at)];
    }
    Index smaller(In, Index i) const {
        Index n = 0;
        for (Index at = rank_[std::size_t(i)]; at > 0; at -= at & -at) n += tree_[std::size_t(at)];
        return n;
    }
    Index equal(In, Index i) const { return count_[std::size_t(rank_[std::size_t(i)])]; }

  private:
    void add(Index rank, Index by) {
        n_ += by, count_[std::size_t(rank)] += by;
        for (Index at = rank + 1; at < Index(tree_.size()); at += at & -at) tree_[std::size_t(at)] += by;
    }
    std::vector<In> values_;
    std::vector<Index> rank_, tree_, count_;
    Index n_ = 0, top_ = 1;
};

struct Quantile {  // parameter: the quantile; linear between neighbours
    template <class Window, class In>
    static double value(const Window& held, In, Index, double q) {
        if (held.size() == 0) return NaN;
        const double place = q * double(held.size() - 1);
        const Index k = Index(place);
        const double low = double(held.kth(k));
        return k + 1 >= held.size() ? low : low + (double(held.kth(k + 1)) - low) * (place - double(k));
    }
};

struct Rank {  // share of the window at or below the current value; equals share their places
    template <class Window, class In>
    static double value(const Window& held, In x, Index i, double) {
        if (!seen(double(x))) return NaN;
        return (double(held.smaller(x, i)) + 0.5 * double(held.equal(x, i) + 1)) / double(held.size());
    }
};

template <class Stat, class Window, class In, class Out>
void order_in(Window& held, const In* x, Index rows, Index window, double parameter, Out* out) {
    for (Index i = 0; i < rows; ++i) {
        const Index old = i - window;
        const bool leaves = old >= 0 && seen(double(x[old])), enters = seen(double(x[i]));
        if (leaves && enters)
            held.replace(x[old], old, x[i], i);
        else if (leaves)
            held.erase(x[old], old);
        else if (enters)
            held.insert(x[i], i);
        out[i] = Out(Stat::value(held, x[i], i, parameter));
    }
}

template <class Stat, class In, class Out>
void order(const In* x, Index rows, Index, Index window, double parameter, Out* out) {
    constexpr Index LONG = 256;
    if (window == 0 || window > rows) window = rows;
    if (window > LONG) {
        CountTree<In> held(x, rows);
        order_in<Stat>(held, x, rows, window, parameter, out);
    } else {
        SortedWindow<In> held(window);
        order_in<Stat>(held, x, rows, window, parameter, out);
    }
}

// Short windows rank fastest by comparing with every value: no order is kept, and the compiler makes lanes of it.
template <class In, class Out>
void rank(const In* x, Index rows, Index first, Index window, double parameter, Out* out) {
    if (window == 0 || window > 96) return order<Rank>(x, rows, first, window, parameter, out);
    for (Index i = 0; i < rows; ++i) {
        const In now = x[i];
        const Index from = std::max(i - window + 1, Index(0));
        int smaller = 0, equal = 0, n = 0;
        for (Index k = from; k <= i; ++k) {
            smaller += x[k] < now && x[k] >= std::numeric_limits<In>::lowest();
            equal += x[k] == now;
            n += std::fabs(x[k]) <= std::numeric_limits<In>::max();
        }
        out[i] = Out(seen(double(now)) ? (double(smaller) + 0.5 * double(equal + 1)) / double(n) : NaN);
    }
}

// ------------------------------------------------------------------------------------------------ recomputed, recursive
// Mean absolute deviation around the mean: every value of the window is looked at, in lanes.
template <class In, class Out>
void mad(const In* x, Index rows, Index first, Index window, double, Out* out) {
    const std::size_t size = std::size_t(rows);
    std::vector<double> held(size), mark(size), mean(size);
    roll<Mean>(x, rows, first, window, 0.0, mean.data());
    for (Index i = 0; i < rows; ++i) {
        mark[std::size_t(i)] = seen(double(x[i])) ? 1.0 : 0.0;
        held[std::size_t(i)] = seen(double(x[i])) ? double(x[i]) : 0.0;
    }
    if (window == 0 || window > rows) window = rows;
    for (Index i = 0; i < rows; ++i) {
        const double *h = held.data(), *m = mark.data(), centre = mean[std::size_t(i)];
        double sum[4] = {0, 0, 0, 0}, n[4] = {0, 0, 0, 0};
        Index k = std::max(i - window + 1, Index(0));
        for (; k + 3 <= i; k += 4)
            for (Index lane = 0; lane < 4; ++lane) {
                sum[lane] += m[k + lane] * std::fabs(h[k + lane] - centre);
                n[lane] += m[k + lane];
            }
        for (; k <= i; ++k) sum[0] += m[k] * std::fabs(h[k] - centre), n[0] += m[k];
        out[i] = Out((sum[0] + sum[1] + sum[2] + sum[3]) / (n[0] + n[1] + n[2] + n[3]));
    }
}

// Exponentially weighted mean, weights (1 - alpha)^age over the values seen; a missing row ages the others.
template <class In, class Out>
void ema(const In* x, Index rows, Index, Index, double alpha, Out* out) {
    double mean = NaN, weight = 0;
    for (Index i = 0; i < rows; ++i) {
        const double now = double(x[i]);
        weight *= 1 - alpha;
        if (seen(now)) {
            weight += 1;
            mean = std::isnan(mean) ? now : mean + (now - mean) / weight;
        }
        out[i] = Out(mean);
    }
}

// The same over all m rows so far with alpha = 2 / (m + 1), which changes with every row.
// parameter 0: weights of the values seen; 1: Qlib's, where a missing value counts as 0.
template <class In, class Out>
void ema_expanding(const In* x, Index rows, Index, Index, double missing_is_zero, Out* out) {
    const std::size_t size = std::size_t(rows);
    std::vector<double> held(size), mark(size);
    bool any = false;
    for (Index i = 0; i < rows; ++i) {
        const bool counts = seen(double(x[i]));
        any = any || counts;
        held[std::size_t(i)] = counts ? double(x[i]) : 0.0;
        mark[std::size_t(i)] = counts || missing_is_zero != 0 ? 1.0 : 0.0;
        const double keep = 1 - 2.0 / double(i + 2), keep4 = keep * keep * keep * keep;
        double sum[4] = {0, 0, 0, 0}, weight[4] = {0, 0, 0, 0};  // lane 3 holds the newest row of every four
        Index k = 0;
        for (; (i + 1 - k) % 4 != 0; ++k) {
            sum[3] = sum[3] * keep + held[std::size_t(k)];
            weight[3] = weight[3] * keep + mark[std::size_t(k)];
        }
        for (; k <= i; k += 4)
            for (Index lane = 0; lane < 4; ++lane) {
                sum[lane] = sum[lane] * keep4 + held[std::size_t(k + lane)];
                weight[lane] = weight[lane] * keep4 + mark[std::size_t(k + lane)];
            }
        const double total = ((sum[0] * keep + sum[1]) * keep + sum[2]) * keep + sum[3];
        const double weights = ((weight[0] * keep + weight[1]) * keep + weight[2]) * keep + weight[3];
        out[i] = Out(any ? total / weights : NaN);
    }
}

// Value of the row `window` rows before (after, where negative); missing where there is no such row.
template <class In, class Out>
void shift(const In* x, Index rows, Index, Index window, double, Out* out) {
    const Index by = std::max(std::min(window, rows), -rows);
    for (Index i = 0; i < by; ++i) out[i] = Out(NaN);
    for (Index i = std::max(by, Index(0)); i < rows + std::min(by, Index(0)); ++i) out[i] = Out(x[i - by]);
    for (Index i = std::max(rows + by, Index(0)); i < rows; ++i)
        if (by < 0) out[i] = Out(NaN);
}

// The first row's value on every row.
template <class In, class Out>
void origin(const In* x, Index rows, Index, Index, double, Out* out) {
    for (Index i = 0; i < rows; ++i) out[i] = Out(x[0]);
}

// ------------------------------------------------------------------------------------------------ by name
template <class In, class Out>
using Kernel = void (*)(const In*, Index, Index, Index, double, Out*);
template <class In, class Out>
using PairKernel = void (*)(const In*, const In*, Index, Index, Index, double, Out*);

template <class In, class Out>
Kernel<In, Out> find(const char* name) {
    struct Row {
        const char* name;
        Kernel<In, Out> kernel;
    };
    static const Row table[] = {
        {"count", roll<Count, In, Out>},
        {"count_infinite_too", roll_gaps<CountInfiniteToo, In, Out>},
        {"max", roll<Extreme<true>, In, Out>},
        {"min", roll<Extreme<false>, In, Out>},
        {"idxmax", roll<ExtremePlace<true>, In, Out>},
        {"idxmin", roll<ExtremePlace<false>, In, Out>},
        {"idxmax_gap_first", roll_gaps<ExtremePlaceOrGap<true>, In, Out>},
        {"idxmin_gap_first", roll_gaps<ExtremePlaceOrGap<false>, In, Out>},
        {"sum", roll<Sum, In, Out>},
        {"mean", roll<Mean, In, Out>},
        {"var", roll<Var, In, Out>},
        {"std", roll<Std, In, Out>},
        {"skew", roll<Skew, In, Out>},
        {"kurt", roll<Kurt, In, Out>},
        {"slope", roll<Slope, In, Out>},
        {"rsquare", roll<Rsquare, In, Out>},
        {"resi", roll<Resi, In, Out>},
        {"wma", roll<WeightedMean, In, Out>},
        {"quantile", order<Quantile, In, Out>},
        {"rank", rank<In, Out>},
        {"mad", mad<In, Out>},
        {"ema", ema<In, Out>},
        {"ema_expanding", ema_expanding<In, Out>},
        {"shift", shift<In, Out>},
        {"origin", origin<In, Out>},
    };
    for (const Row& row : table)
        if (std::strcmp(row.name, name) == 0) return row.kernel;
    return nullptr;
}

template <class In, class Out>
PairKernel<In, Out> find_pair(const char* name) {
    if (std::strcmp(name, "cov") == 0) return roll_pair<Cov, In, Out>;
    if (std::strcmp(name, "corr") == 0) return roll_pair<Corr, In, Out>;
    return nullptr;
}

template <class In, class Out>
bool run_typed(const char* name, const In* x, const In* y, const std::int64_t* start, const std::int64_t* first,
               Index instruments, Index window, double parameter, Out* out) {
    const Kernel<In, Out> one = y == nullptr ? find<In, Out>(name) : nullptr;
    const PairKernel<In, Out> two = y == nullptr ? nullptr : find_pair<In, Out>(name);
    if (one == nullptr && two == nullptr) return false;
    for (Index k = 0; k < instruments; ++k) {
        const Index at = Index(start[k]), rows = Index(start[k + 1] - start[k]), position = Index(first[k]);
        if (two != nullptr)
            two(x + at, y + at, rows, position, window, parameter, out + at);
        else
            one(x + at, rows, position, window, parameter, out + at);
    }
    return true;
}

// wide: float64, else float32.
inline bool run(const char* name, const void* x, const void* y, bool wide_in, const std::int64_t* start,
                const std::int64_t* first, Index instruments, Index window, double parameter, void* out,
                bool wide_out) {
    const auto typed = [&](auto in, auto result) {
        using In = decltype(in);
        using Out = decltype(result);
        return run_typed(name, static_cast<const In*>(x), static_cast<const In*>(y), start, first, instruments, window,
                         parameter, static_cast<Out*>(out));
    };
    if (wide_in) return wide_out ? typed(0.0, 0.0) : typed(0.0, 0.0F);
    return wide_out ? typed(0.0F, 0.0) : typed(0.0F, 0.0F);
}

}  // namespace qlib_kernels
