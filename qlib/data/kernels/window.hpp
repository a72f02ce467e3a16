// Windows: how a statistic slides over the rows.  A statistic is a struct with push / merge / read (statistics.hpp); the
// window is here, so none repeats the loop.
//
// Nothing is ever subtracted from a running sum.  The calendar is cut into blocks as long as the window:
//
//     ... | tail: sums of the last 1, 2, 3 ... rows of the block before | head: sums from the block's first row on | ...
//                                                                                          r
//
// and the window that ends at row r is merge(tail, head).  Three things follow.  A value costs two pushes and one merge,
// whatever the window.  Rounding does not pile up over a long series, and an infinite or missing value is gone with the
// window that held it.  And because blocks are cut at multiples of the window in *calendar* positions, a value has the
// same bits wherever the query began.

// What a statistic may ask when it is read; rows are counted from the start of the block (window 0: of the series).
struct View {
    D x;        // the current value
    D row;      // the current row
    D from;     // the first row of the window
};

template <class Stat>
struct Sliding : State {
    Stat head;
    Block<Stat> tail;  // tail[k]: the last k + 1 rows of the block before
    Index held = 0;    // how many it has
    Stat before;       // window 0: all pieces before the head's
};

template <class Stat>
State* slide_birth(const Instruction&) { return new Sliding<Stat>(); }

// In: the rows' values for Stat::push; two inputs are a pair.
struct OneInput {
    typedef D Value;
    const D* x;
    OneInput(const Run& run, const Step& step) : x(run.rows_of<D>(step.in[0])) {}
    D current(Index r) const { return x[r]; }
    template <class Stat>
    void push(Stat& stat, Index r, D row, bool newest, I exists) const { stat.push(x[r], row, newest, exists); }
};
struct TwoInputs {
    const D *x, *y;
    TwoInputs(const Run& run, const Step& step) : x(run.rows_of<D>(step.in[0])), y(run.rows_of<D>(step.in[1])) {}
    D current(Index r) const { return x[r]; }
    template <class Stat>
    void push(Stat& stat, Index r, D, bool, I) const { stat.push(x[r], y[r]); }
};

// Window 0: all rows so far.  For every row: emit(row, statistic of the rows up to it, view).  Sums of a million terms are
// sums of pieces, cut at multiples in calendar positions too, so their rounding stays that of a few thousand.
constexpr Index PIECE = 1024;
template <class Stat, class Input, class Emit>
static void grow(Run& run, const Step& step, Sliding<Stat>& state, const Emit& emit) {
    const Input input(run, step);
    const Index low = run.low(step), high = run.high(step);
    const Index* born = run.born_of(step);
    D first;
    for (int l = 0; l < LANES; ++l) first[l] = double(born[l]);
    Stat head = state.head;  // here it lives in registers
    Index phase = (run.base + low) % PIECE;
    for (Index r = low; r < high; ++r, ++phase) {
        if (phase == PIECE) phase = 0;
        if (phase == 0) state.before = Stat::merge(state.before, head), head = Stat();
        const D row = all(double(r)) - first;
        input.push(head, r, row, true, row >= 0.0);
        emit(r, Stat::merge(state.before, head), View{input.current(r), row, all(0.0)});
    }
    state.head = head;
}

// For every row: emit(row, statistic of its window, view).
template <class Stat, class Input, class Emit>
static void slide(Run& run, const Step& step, Sliding<Stat>& state, const Emit& emit) {
    if (step.window == 0) return grow<Stat, Input>(run, step, state, emit);
    const Input input(run, step);
    const Index low = run.low(step), high = run.high(step), window = step.window;
    const Index* born = run.born_of(step);
    D first;
    for (int l = 0; l < LANES; ++l) first[l] = double(born[l]);
    Stat head = state.head;
    Index phase = (run.base + low) % window;
    for (Index r = low; r < high; ++r, ++phase) {
        if (phase == window) phase = 0;
        if (phase == 0) {
            Index count = r < window ? r : window;
            state.tail.reserve(count);
            Stat back;
            for (Index k = 0; k < count; ++k) {
                const Index at = r - 1 - k;
                input.push(back, at, all(double(-1 - k)), false, all(double(at)) >= first);
                state.tail[k] = back;
            }
            state.held = count;
            head = Stat();
        }
        const D row = all(double(phase));
        input.push(head, r, row, true, all(double(r)) >= first);
        D from = row - double(window - 1);
        if constexpr (Stat::asks_from) from = larger(from, first - double(r - phase));
        const View view{input.current(r), row, from};
        Index before = window - 1 - phase;  // rows of the window in the block before
        if (before > state.held) before = state.held;
        if (before == 0)
            emit(r, head, view);
        else
            emit(r, Stat::merge(state.tail[before - 1], head), view);
    }
    state.head = head;
}

// Only: there is no other window than 0.
template <class Stat, class Input, bool Only, class Emit>
static void over(Run& run, const Step& step, State* state, const Emit& emit) {
    if constexpr (Only)
        grow<Stat, Input>(run, step, *static_cast<Sliding<Stat>*>(state), emit);
    else
        slide<Stat, Input>(run, step, *static_cast<Sliding<Stat>*>(state), emit);
}

template <class Stat, class Input, bool Only = false>
void windowed(Run& run, const Instruction& it, State* state) {
    const Step& step = it.step;
    D* out[MOST_OUTPUTS];
    for (int j = 0; j < step.outs; ++j) out[j] = run.rows_of<D>(step.out[j]);
    if (step.outs == 1) {
        D* const only = out[0];
        const int what = step.what[0];
        const double parameter = step.parameter[0];
        over<Stat, Input, Only>(run, step, state, [=](Index r, const Stat& stat, const View& view) {
            only[r] = stat.read(what, view, parameter);
        });
    } else {
        over<Stat, Input, Only>(run, step, state, [&](Index r, const Stat& stat, const View& view) {
            for (int j = 0; j < step.outs; ++j) out[j][r] = stat.read(step.what[j], view, step.parameter[j]);
        });
    }
}
