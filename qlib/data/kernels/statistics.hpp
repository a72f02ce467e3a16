// What can be said about a window: each statistic is a struct with push / merge / read, see window.hpp.
//
// Sums are taken about a reference value `c` which lies inside the part it describes, so (mean - c)^2 is at most the sum
// of squared deviations: cancellation costs a factor n at worst, never the price level.  A statistic that says more is
// computed by the same operations as one that says less, so a mean has the same bits whoever else asked.

#define ZERO all(0.0)

// ------------------------------------------------------------------------------------------------ counts and extremes
struct Counted {
    static constexpr bool asks_from = false;
    D n = ZERO;
    void push(D x, D, bool, I) { n = pick(seen(x), n + 1.0, n); }
    static Counted merge(const Counted& a, const Counted& b) { Counted s; s.n = a.n + b.n; return s; }
    D read(int, const View&, double) const { return n; }
};

struct CountedInfiniteToo {  // Qlib's
    static constexpr bool asks_from = false;
    D n = ZERO;
    void push(D x, D, bool, I) { n = pick(x == x, n + 1.0, n); }
    static CountedInfiniteToo merge(const CountedInfiniteToo& a, const CountedInfiniteToo& b) {
        CountedInfiniteToo s; s.n = a.n + b.n; return s;
    }
    D read(int, const View&, double) const { return n; }
};

template <bool Largest>
struct Extreme {
    static constexpr bool asks_from = false;
    static constexpr double NONE = Largest ? -INF : INF;
    D best = all(NONE);
    void push(D x, D, bool, I) {
        x = pick(seen(x), x, all(NONE));
        best = Largest ? larger(x, best) : smaller(x, best);
    }
    static Extreme merge(const Extreme& a, const Extreme& b) {
        Extreme s; s.best = Largest ? larger(a.best, b.best) : smaller(a.best, b.best); return s;
    }
    D read(int, const View&, double) const { return pick(best == NONE, all(NaN), best); }
};

// 1-based place of the extreme, counted from the oldest row of the window; of equals the oldest.
template <bool Largest>
struct ExtremePlace {
    static constexpr bool asks_from = true;
    static constexpr double NONE = Largest ? -INF : INF;
    D best = all(NONE), at = ZERO;
    void push(D x, D row, bool newest, I) {
        x = pick(seen(x), x, all(NONE));
        const I better = newest ? (Largest ? x > best : x < best) : (Largest ? x >= best : x <= best);
        best = pick(better, x, best), at = pick(better, row, at);
    }
    static ExtremePlace merge(const ExtremePlace& a, const ExtremePlace& b) {
        const I older = Largest ? a.best >= b.best : a.best <= b.best;
        ExtremePlace s;
        s.best = pick(older, a.best, b.best), s.at = pick(older, a.at, b.at);
        return s;
    }
    D read(int what, const View& v, double) const {
        return pick(best == NONE, all(NaN), what == BEST ? best : at - v.from + 1.0);
    }
};

// Qlib's: where the window has a gap, the place of its first gap (but nothing where it is all gap).
template <bool Largest>
struct ExtremePlaceOrGap {
    static constexpr bool asks_from = true;
    ExtremePlace<Largest> place;
    D gap = all(INF);
    void push(D x, D row, bool newest, I exists) {
        place.push(x, row, newest, exists);
        gap = smaller(gap, pick(exists & ~seen(x), row, all(INF)));
    }
    static ExtremePlaceOrGap merge(const ExtremePlaceOrGap& a, const ExtremePlaceOrGap& b) {
        ExtremePlaceOrGap s;
        s.place = ExtremePlace<Largest>::merge(a.place, b.place), s.gap = smaller(a.gap, b.gap);
        return s;
    }
    D read(int what, const View& v, double p) const {
        const D own = place.read(what, v, p);
        return pick((own == own) & (gap < INF), gap - v.from + 1.0, own);
    }
};

// ------------------------------------------------------------------------------------------------ sums and moments
struct Summed {
    static constexpr bool asks_from = false;
    D n = ZERO, sum = ZERO;
    void push(D x, D, bool, I) {
        const I counts = seen(x);
        n = pick(counts, n + 1.0, n), sum += pick(counts, x, ZERO);
    }
    static Summed merge(const Summed& a, const Summed& b) { Summed s; s.n = a.n + b.n, s.sum = a.sum + b.sum; return s; }
    D read(int what, const View&, double) const { return what == COUNT ? n : pick(n > 0.0, sum, all(NaN)); }
};

// Variation that float32 prices cannot carry is no variation: relative to the level, so no price is too small.
template <class V>
static inline auto flat(V m2, V n, V mean, double tolerance) {
    const V level = tolerance * mean;
    return ~(m2 > n * level * level);
}

struct Moments1 {
    static constexpr bool asks_from = false;
    D n = ZERO, c = ZERO, s = ZERO;
    void push(D x, D, bool, I) {
        const I counts = seen(x);
        c = pick(counts & (n == 0.0), x, c);
        n = pick(counts, n + 1.0, n), s += pick(counts, x - c, ZERO);
    }
    static Moments1 merge(const Moments1& a, const Moments1& b) {
        Moments1 m;
        m.c = pick(b.n == 0.0, a.c, b.c);
        const D d = a.c - m.c;
        m.n = a.n + b.n, m.s = a.s + b.s + a.n * d;
        return m;
    }
    D mean() const { return c + s / n; }
    D read(int what, const View&, double) const { return what == COUNT ? n : mean(); }
};

static inline D spread_about_mean(D n, D s, D q) { return larger(q - s * s / n, ZERO); }
static inline D read_moments(int what, D n, D c, D s, D q) {
    if (what == MEAN) return c + s / n;
    if (what == COUNT) return n;
    const D var = pick(n > 1.0, spread_about_mean(n, s, q) / (n - 1.0), all(NaN));
    return what == VAR ? var : root(var);
}

struct Moments2 {
    static constexpr bool asks_from = false;
    D n = ZERO, c = ZERO, s = ZERO, q = ZERO;
    void push(D x, D, bool, I) {
        const I counts = seen(x);
        c = pick(counts & (n == 0.0), x, c);
        const D d = pick(counts, x - c, ZERO);
        n = pick(counts, n + 1.0, n), s += d, q += d * d;
    }
    static Moments2 merge(const Moments2& a, const Moments2& b) {
        Moments2 m;
        m.c = pick(b.n == 0.0, a.c, b.c);
        const D d = a.c - m.c;
        m.n = a.n + b.n, m.s = a.s + b.s + a.n * d, m.q = a.q + b.q + d * (2.0 * a.s + a.n * d);
        return m;
    }
    D read(int what, const View&, double) const { return read_moments(what, n, c, s, q); }
};

// Skew and Kurt.  parameter >= 0: relative tolerance below which a window is flat (NaN).
// parameter < 0: pandas 2, where a constant window has skewness 0 and a variance below 1e-14 has none.
struct Moments4 {
    static constexpr bool asks_from = false;
    D n = ZERO, c = ZERO, s = ZERO, q = ZERO, t = ZERO, f = ZERO;  // sums of d, d^2, d^3, d^4
    void push(D x, D, bool, I) {
        const I counts = seen(x);
        c = pick(counts & (n == 0.0), x, c);
        const D d = pick(counts, x - c, ZERO), d2 = d * d;
        n = pick(counts, n + 1.0, n), s += d, q += d2, t += d2 * d, f += d2 * d2;
    }
    static Moments4 merge(const Moments4& a, const Moments4& b) {
        Moments4 m;
        m.c = pick(b.n == 0.0, a.c, b.c);
        const D d = a.c - m.c, d2 = d * d;
        m.n = a.n + b.n, m.s = a.s + b.s + a.n * d, m.q = a.q + b.q + d * (2.0 * a.s + a.n * d);
        m.t = a.t + b.t + d * (3.0 * a.q + d * (3.0 * a.s + a.n * d));
        m.f = a.f + b.f + d * (4.0 * a.t + d * (6.0 * a.q + d * (4.0 * a.s)) + a.n * d2 * d);
        return m;
    }
    D read(int what, const View&, double parameter) const {
        if (what != SKEW && what != KURT) return read_moments(what, n, c, s, q);
        const D m = s / n, m2 = spread_about_mean(n, s, q), b = m2 / n;
        const I none = parameter < 0 ? b <= 1e-14 : flat(n * b, n, c + m, parameter);
        D value;
        if (what == SKEW) {
            const D m3 = t - 3.0 * m * q + 2.0 * n * m * m * m;
            value = root(n * (n - 1.0)) / (n - 2.0) * (m3 / n) / (b * root(b));
        } else {
            const D m4 = f - 4.0 * m * t + 6.0 * m * m * q - 3.0 * n * m * m * m * m;
            value = ((n * n - 1.0) * (m4 / n) / (b * b) - 3.0 * (n - 1.0) * (n - 1.0)) / ((n - 2.0) * (n - 3.0));
        }
        value = pick(none, all(NaN), value);
        if (parameter < 0) value = pick(b == 0.0, all(what == SKEW ? 0.0 : -3.0), value);
        return pick(n >= (what == SKEW ? 3.0 : 4.0), value, all(NaN));
    }
};

// ------------------------------------------------------------------------------------------------ against the row number
struct Line {
    static constexpr bool asks_from = true;
    D n = ZERO, c = ZERO, i = ZERO, ii = ZERO, s = ZERO, is = ZERO, q = ZERO;
    void push(D x, D row, bool, I) {
        const I counts = seen(x);
        c = pick(counts & (n == 0.0), x, c);
        const D d = pick(counts, x - c, ZERO), r = pick(counts, row, ZERO);
        n = pick(counts, n + 1.0, n), i += r, ii += r * r, s += d, is += r * d, q += d * d;
    }
    static Line merge(const Line& a, const Line& b) {
        Line m;
        m.c = pick(b.n == 0.0, a.c, b.c);
        const D d = a.c - m.c;
        m.n = a.n + b.n, m.i = a.i + b.i, m.ii = a.ii + b.ii;
        m.s = a.s + b.s + a.n * d, m.is = a.is + b.is + a.i * d, m.q = a.q + b.q + d * (2.0 * a.s + a.n * d);
        return m;
    }
    D read(int what, const View& v, double tolerance) const {
        if (what == WMA || what == WMA_AGAIN) {  // weights 1..m over the m rows of the window
            const D before = v.from - 1.0, weight = i - before * n, sum = is - before * s, rows = v.row - v.from + 1.0;
            const D value = what == WMA ? c + sum / weight : (c * weight + sum) / (rows * (rows + 1.0) / 2.0) / n;
            return pick(n > 0.0, value, all(NaN));
        }
        if (what != SLOPE && what != RESI && what != RSQUARE) return read_moments(what, n, c, s, q);
        const D cross = n * is - i * s, spread = n * ii - i * i;
        if (what == RSQUARE) {
            const D m2 = q - s * s / n, value = smaller(cross * cross / (spread * n * m2), all(1.0));
            return pick((n > 1.0) & ~flat(m2, n, c + s / n, tolerance), value, all(NaN));
        }
        const D slope = cross / spread;
        if (what == SLOPE) return pick(n > 1.0, slope, all(NaN));
        return pick((n > 1.0) & seen(v.x), (v.x - c) - (s / n + slope * (v.row - i / n)), all(NaN));
    }
};

// The same over all rows so far, for window 0: products about the means themselves (Welford 1962), because row numbers
// grow without end and what is left of two sums of a million products would be the rounding of both.
struct LineSoFar : Line {
    D row_mean = ZERO, mean = ZERO, rr = ZERO, rd = ZERO, dd = ZERO;  // of d, the deviations from c
    void push(D x, D row, bool newest, I exists) {
        const I counts = seen(x);
        Line::push(x, row, newest, exists);
        const D each = pick(counts, 1.0 / n, ZERO), r = pick(counts, row - row_mean, ZERO), d = pick(counts, x - c - mean, ZERO);
        row_mean += r * each, mean += d * each;
        const D left = pick(counts, x - c - mean, ZERO);
        rr += r * pick(counts, row - row_mean, ZERO), rd += r * left, dd += d * left;
    }
    static LineSoFar merge(const LineSoFar& a, const LineSoFar& b) {  // Chan, Golub and LeVeque 1983
        LineSoFar m;
        static_cast<Line&>(m) = Line::merge(a, b);
        const D share = pick(m.n > 0.0, b.n / m.n, ZERO), weight = a.n * share;
        const D earlier = pick(a.n > 0.0, a.mean + (a.c - m.c), b.mean);  // about m.c, as b's is
        const D r = b.row_mean - a.row_mean, d = b.mean - earlier;
        m.row_mean = a.row_mean + share * r, m.mean = pick(b.n > 0.0, earlier + share * d, a.mean);
        m.rr = a.rr + b.rr + weight * r * r, m.rd = a.rd + b.rd + weight * r * d, m.dd = a.dd + b.dd + weight * d * d;
        return m;
    }
    D read(int what, const View& v, double tolerance) const {
        if (what != SLOPE && what != RESI && what != RSQUARE) return Line::read(what, v, tolerance);
        const D slope = rd / rr;
        if (what == SLOPE) return pick(n > 1.0, slope, all(NaN));
        if (what == RESI) return pick((n > 1.0) & seen(v.x), (v.x - c) - (mean + slope * (v.row - row_mean)), all(NaN));
        const D value = smaller(rd * rd / (rr * dd), all(1.0));
        return pick((n > 1.0) & ~flat(dd, n, c + mean, tolerance), value, all(NaN));
    }
};

static State* line_birth(const Instruction& it) {
    if (it.step.window == 0) return new Sliding<LineSoFar>();
    return new Sliding<Line>();
}
static void line(Run& run, const Instruction& it, State* state) {
    if (it.step.window == 0)
        windowed<LineSoFar, OneInput, true>(run, it, state);
    else
        windowed<Line, OneInput>(run, it, state);
}

// ------------------------------------------------------------------------------------------------ two series
// The square root of a product, of factors whose product is too large or too small for a number, too.
static inline Half root_of_product(Half a, Half b) {
    const Half product = a * b;
    const HalfMask fits = (product > 1e-280) & (product < 1e280);
    if (everywhere(fits)) return root(product);
    return pick(fits, root(product), root(a) * root(b));
}

struct Paired {
    static constexpr bool asks_from = false;
    Half n = NIL, cx = NIL, cy = NIL, x = NIL, y = NIL, xx = NIL, yy = NIL, xy = NIL;
    // Takes the pair as reference; returns the lanes that have to find their own.
    HalfMask refer(Half left, Half right) {
        const HalfMask free = ~(seen(left) & seen(right));
        cx = pick(free, NIL, left), cy = pick(free, NIL, right);
        return free;
    }
    void push(Half left, Half right, HalfMask free = NIL == NIL) {
        const HalfMask counts = seen(left) & seen(right), fresh = counts & free & (n == 0.0);
        cx = pick(fresh, left, cx), cy = pick(fresh, right, cy);
        const Half dx = pick(counts, left - cx, NIL), dy = pick(counts, right - cy, NIL);
        n = pick(counts, n + 1.0, n), x += dx, y += dy, xx += dx * dx, yy += dy * dy, xy += dx * dy;
    }
    static Paired merge(const Paired& a, const Paired& b) {
        Paired m;
        const HalfMask empty = b.n == 0.0;
        m.cx = pick(empty, a.cx, b.cx), m.cy = pick(empty, a.cy, b.cy);
        const Half dx = a.cx - m.cx, dy = a.cy - m.cy;
        m.n = a.n + b.n, m.x = a.x + b.x, m.y = a.y + b.y, m.xx = a.xx + b.xx, m.yy = a.yy + b.yy, m.xy = a.xy + b.xy;
        if (everywhere((dx == 0.0) & (dy == 0.0))) return m;
        m.x += a.n * dx, m.y += a.n * dy;
        m.xx += moved(dx, 2.0 * a.x + a.n * dx), m.yy += moved(dy, 2.0 * a.y + a.n * dy);
        m.xy += moved(dx, a.y) + moved(dy, a.x) + a.n * dx * dy;
        return m;
    }
    Half read(int what, const ViewOf<Half>&, double tolerance) const {
        if (what == COUNT) return n;
        const Half each = 1.0 / n, ax = x * each, ay = y * each, together = xy - x * ay;
        if (what == COV) return pick(n > 1.0, together / (n - 1.0), half(NaN));
        const Half mx = xx - x * ax, my = yy - y * ay;
        const HalfMask none = flat(mx, n, cx + ax, tolerance) | flat(my, n, cy + ay, tolerance) | (n < 2.0);
        return pick(none, half(NaN), larger(smaller(together / root_of_product(mx, my), half(1.0)), half(-1.0)));
    }

  private:
    static constexpr Half NIL = {};
    // d * by, and nothing where d is 0, whatever has become of `by`: a lane's bits do not depend on its neighbours'.
    static Half moved(Half d, Half by) { return pick(d == 0.0, NIL, d * by); }
};
