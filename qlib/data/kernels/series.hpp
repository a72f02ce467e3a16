// Kernels that need no running window: recursive, recomputed at every row, or only moving rows.

// Exponentially weighted mean, weights (1 - alpha)^age over the values seen; a missing row ages the others.
struct Decaying : State {
    D mean = all(NaN), weight = ZERO;
};
static State* decaying_birth(const Instruction&) { return new Decaying; }
static void ema(Run& run, const Instruction& it, State* state) {
    const Step& step = it.step;
    Decaying& own = *static_cast<Decaying*>(state);
    const D* x = run.rows_of<D>(step.in[0]);
    D* out = run.rows_of<D>(step.out[0]);
    const double keep = 1.0 - step.parameter[0];
    D mean = own.mean, weight = own.weight;
    for (Index r = run.low(step), high = run.high(step); r < high; ++r) {
        const D now = x[r];
        const I counts = seen(now);
        weight *= keep;
        weight = pick(counts, weight + 1.0, weight);
        mean = pick(counts, pick(weight == 1.0, now, mean + (now - mean) / weight), mean);  // alone: exactly itself
        out[r] = mean;
    }
    own.mean = mean, own.weight = weight;
}

// The same over all m rows so far with alpha = 2 / (m + 1), which changes with every row, so every row looks at all.
// parameter 0: weights of the values seen; 1: Qlib's, where a missing value counts as 0.
static void ema_expanding(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    const D* x = run.rows_of<D>(step.in[0]);
    D* out = run.rows_of<D>(step.out[0]);
    const Index* born = run.born_of(step);
    const bool zero = step.parameter[0] != 0;
    Index first = run.rows;
    D begin;
    for (int l = 0; l < LANES; ++l) begin[l] = double(born[l]), first = born[l] < first ? born[l] : first;
    for (Index r = run.low(step), high = run.high(step); r < high; ++r) {
        const D keep = 1.0 - 2.0 / (all(double(r + 2)) - begin);
        D sum = ZERO, weight = ZERO;
        I any = sum != sum;
        for (Index k = first; k <= r; ++k) {
            const I counts = seen(x[k]), exists = all(double(k)) >= begin;
            any |= counts;
            sum = sum * keep + pick(counts, x[k], ZERO);
            weight = weight * keep + pick(zero ? exists : counts, all(1.0), ZERO);
        }
        out[r] = pick(any, sum / weight, all(NaN));
    }
}

// Mean absolute deviation around the mean: every value of the window is looked at.
static void mad(Run& run, const Instruction& it, State* state) {
    const Step& step = it.step;
    const D* x = run.rows_of<D>(step.in[0]);
    D* out = run.rows_of<D>(step.out[0]);
    over<Moments1, OneInput, false>(run, step, 0, state, [&](Index r, const Moments1& stat, const View&) {
        const D mean = stat.mean();
        D sum = ZERO;
        for (Index k = step.window == 0 || r < step.window ? 0 : r - step.window + 1; k <= r; ++k) {
            const D off = x[k] - mean;
            sum += pick(seen(x[k]), larger(off, -off), ZERO);
        }
        out[r] = sum / stat.n;
    });
}

// The value `window` rows before (after, where negative); missing where there is no such row.
template <class V>
void shift(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    const V* x = run.rows_of<V>(step.in[0]);
    V* out = run.rows_of<V>(step.out[0]);
    const Index low = run.low(step), high = run.high(step), by = step.window;
    const V none = every<V>(NaN);
    if (by >= 0) {
        for (Index r = low; r < high; ++r) out[r] = r >= by ? x[r - by] : none;
        return;
    }
    const Index* died = run.died_of(step);
    Index last = run.rows;
    for (int l = 0; l < LANES; ++l)
        if (run.lanes[l] >= 0) last = died[l] < last ? died[l] : last;
    for (Index r = low; r < high; ++r) out[r] = r - by < run.rows ? x[r - by] : none;
    for (int l = 0; l < LANES; ++l)
        for (Index r = low > died[l] + by ? low : died[l] + by; r < high; ++r)
            if (r >= low) out[r][l] = typename MaskOf<V>::T(NaN);
}

// The first row's value on every row.
template <class V>
struct First : State {
    V value = every<V>(NaN);
};
template <class V>
State* first_birth(const Instruction&) { return new First<V>; }
template <class V>
void origin(Run& run, const Instruction& it, State* state) {
    const Step& step = it.step;
    V& value = static_cast<First<V>*>(state)->value;
    const V* x = run.rows_of<V>(step.in[0]);
    V* out = run.rows_of<V>(step.out[0]);
    const Index* born = run.born_of(step);
    for (Index r = run.low(step), high = run.high(step); r < high; ++r) {
        for (int l = 0; l < LANES; ++l)
            if (r == born[l]) value[l] = x[r][l];
        out[r] = value;
    }
}

// Qlib's running sums: from an instrument's first infinite value (first input) on, the second input is missing.
struct Poison : State {
    I poisoned = all(0.0) != all(0.0);
};
static State* poison_birth(const Instruction&) { return new Poison; }
static void poison(Run& run, const Instruction& it, State* state) {
    const Step& step = it.step;
    I& poisoned = static_cast<Poison*>(state)->poisoned;
    const D *x = run.rows_of<D>(step.in[0]), *value = run.rows_of<D>(step.in[1]);
    D* out = run.rows_of<D>(step.out[0]);
    for (Index r = run.low(step), high = run.high(step); r < high; ++r) {
        poisoned |= (x[r] == x[r]) & ~seen(x[r]);
        out[r] = pick(poisoned, all(NaN), value[r]);
    }
}

// The first input, missing where the second is at most `parameter`.
static void blank_where_flat(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    const D *value = run.rows_of<D>(step.in[0]), *spread = run.rows_of<D>(step.in[1]);
    D* out = run.rows_of<D>(step.out[0]);
    for (Index r = run.low(step), high = run.high(step); r < high; ++r)
        out[r] = pick(spread[r] <= step.parameter[0], all(NaN), value[r]);
}

// The input, missing wherever the row `window` rows later stands after the caller's last one.
template <class V>
void blank_after_query(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    const V* x = run.rows_of<V>(step.in[0]);
    V* out = run.rows_of<V>(step.out[0]);
    const Index last = run.job->last - run.base - step.window;
    for (Index r = run.low(step), high = run.high(step); r < high; ++r) out[r] = r <= last ? x[r] : every<V>(NaN);
}
