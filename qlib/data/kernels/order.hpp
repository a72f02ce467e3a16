// Order statistics of a window: quantiles, and the place of the current value.
//
// A short window is kept in order, eight instruments side by side: the value that leaves is taken out and the one that
// comes is put in by one walk over the sorted rows, without a branch.  A missing value is +infinity, so it stands last.
// A long window is kept in pieces (sorted.hpp), one instrument after the other.

constexpr Index SHORT = 512;

template <class V>
struct MaskOf;
template <>
struct MaskOf<D> {
    typedef I Mask;
    typedef double T;
};
template <>
struct MaskOf<F> {
    typedef J Mask;
    typedef float T;
};

template <class V>
struct Order : State {
    typedef typename MaskOf<V>::T T;
    Block<V> held;  // window rows in ascending order, and one of +infinity behind them
    V n;            // values seen in the window
    Sorted* pieces[LANES] = {};
    explicit Order(Index window) {
        n = every<V>(0.0);
        if (window > 0 && window <= SHORT) {
            held.reserve(window + 1);
            for (Index k = 0; k <= window; ++k) held[k] = every<V>(INF);
        } else {
            for (int l = 0; l < LANES; ++l) pieces[l] = make_sorted();
        }
    }
    ~Order() override {
        for (int l = 0; l < LANES; ++l) delete pieces[l];
    }
};

template <class V>
State* order_birth(const Instruction& it) { return new Order<V>(it.step.window); }

template <class V>
static void order_long(Run& run, const Step& step, Order<V>& state, const V* x, D* const* out) {
    typedef typename MaskOf<V>::T T;
    const Index low = run.low(step), high = run.high(step), window = step.window;
    for (int l = 0; l < LANES; ++l) {
        if (run.lanes[l] < 0) {
            for (int j = 0; j < step.outs; ++j)
                for (Index r = low; r < high; ++r) out[j][r][l] = NaN;
            continue;
        }
        Sorted& held = *state.pieces[l];
        for (Index r = low; r < high; ++r) {
            const T now = x[r][l] + T(0);
            if (window > 0 && r >= window) {
                const T old = x[r - window][l] + T(0);
                if (old - old == 0) held.erase(double(old));
            }
            const bool counts = now - now == 0;
            if (counts) held.insert(double(now));
            const double n = double(held.size());
            for (int j = 0; j < step.outs; ++j) {
                double value = NaN;
                if (step.what[j] == RANK && counts) {
                    Index smaller, equal;
                    held.place(double(now), smaller, equal);
                    value = (double(smaller) + 0.5 * double(equal + 1)) / n;
                } else if (step.what[j] == QUANTILE && n > 0) {
                    const double place = step.parameter[j] * (n - 1);
                    const Index k = Index(place);
                    const double at = held.kth(k);
                    value = k + 1 >= held.size() ? at : at + (held.kth(k + 1) - at) * (place - double(k));
                }
                out[j][r][l] = value;
            }
        }
    }
}

// Where the quantile q stands among `count` sorted values: `part` of the way from value `at` to the next.
struct Place {
    Index at = 0;
    double part = 0;
    bool last = true;  // there is no next
    Place() = default;
    Place(double q, double count) {
        const double place = q * (count - 1.0);
        at = Index(place), part = place - double(at), last = double(at + 1) >= count;
    }
};

// The quantile of lanes that have different numbers of values, n of the sorted rows.
template <class V>
static D quantile(const V* held, V n, double q) {
    D value = all(NaN);
    for (int l = 0; l < LANES; ++l) {
        if (n[l] == 0) continue;
        const Place place(q, double(n[l]));
        const double at = double(held[place.at][l]);
        value[l] = place.last ? at : at + (double(held[place.at + 1][l]) - at) * place.part;
    }
    return value;
}

template <class V, bool Ranked>
static void order_short(Run& run, const Step& step, Order<V>& state, const V* x, D* const* out) {
    typedef typename MaskOf<V>::T T;
    typedef typename MaskOf<V>::Mask Mask;
    const Index low = run.low(step), high = run.high(step), window = step.window;
    const V infinite = every<V>(INF), one = every<V>(1.0), zero = every<V>(0.0);
    V* const held = state.held.data;
    V n = state.n, common = every<V>(-1.0);  // values that every lane has, or none at all
    Place places[MOST_OUTPUTS];              // of the quantiles of so many
    for (Index r = low; r < high; ++r) {
        V now = x[r] + zero, old = r >= window ? x[r - window] + zero : infinite;
        const auto counts = seen(now), counted = seen(old);
        now = pick(counts, now, infinite), old = pick(counted, old, infinite);
        n = n + pick(counts, one, zero) - pick(counted, one, zero);
        V before = every<V>(-INF), next = held[0];
        Mask less = now != now, same = less;  // what is true is -1: minus the values below, and equal
        for (Index k = 0; k < window; ++k) {
            const V here = next;
            next = held[k + 1];
            const V kept = pick(here < old, here, next);  // without the value that leaves
            const V fresh = larger(before, smaller(kept, now));
            held[k] = fresh;
            before = kept;
            if (Ranked) less += fresh < now, same += fresh == now;
        }
        state.n = n;
        const auto none = n == zero;
        bool alike = everywhere((n == common) | none);
        if (!alike) {
            T most = 0;
            for (int l = 0; l < LANES; ++l) most = n[l] > most ? n[l] : most;
            common = every<V>(most);
            alike = everywhere((n == common) | none);
            for (int j = 0; j < step.outs; ++j) places[j] = Place(step.parameter[j], double(most));
        }
        for (int j = 0; j < step.outs; ++j) {
            if (step.what[j] == QUANTILE && alike) {
                const Place& place = places[j];
                D value = wide(held[place.at]);
                if (!place.last) value += (wide(held[place.at + 1]) - value) * place.part;
                out[j][r] = pick(wide(n) == 0.0, all(NaN), value);
            } else if (step.what[j] == QUANTILE) {
                out[j][r] = quantile(held, n, step.parameter[j]);
            } else if (Ranked) {
                out[j][r] = (wide(pick(counts, -number(less), every<V>(NaN))) + 0.5 * (1.0 - wide(number(same)))) / wide(n);
            }
        }
    }
}

template <class V>
void order(Run& run, const Instruction& it, State* state) {
    const Step& step = it.step;
    Order<V>& own = *static_cast<Order<V>*>(state);
    const V* x = run.rows_of<V>(step.in[0]);
    D* out[MOST_OUTPUTS];
    bool ranked = false;
    for (int j = 0; j < step.outs; ++j) out[j] = run.rows_of<D>(step.out[j]), ranked = ranked || step.what[j] == RANK;
    if (own.pieces[0] != nullptr)
        order_long<V>(run, step, own, x, out);
    else if (ranked)
        order_short<V, true>(run, step, own, x, out);
    else
        order_short<V, false>(run, step, own, x, out);
}
