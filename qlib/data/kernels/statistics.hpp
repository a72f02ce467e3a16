// What can be said about a window: each statistic is a struct with push / merge / value, see window.hpp.
//
// Sums are taken about a reference value `c` which lies inside the part it describes, so (mean - c)^2 is at most the sum
// of squared deviations: cancellation costs a factor n at worst, never the price level.
#pragma once
#include "window.hpp"

namespace qlib_kernels {

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

}  // namespace qlib_kernels
