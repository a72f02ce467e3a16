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
//
// Pairs go four lanes at a time, one side of the register after the other: their sums fit the registers of a machine, those
// of eight lanes do not.  And the tail of a pair is summed about the first values of the head: then merging is adding.

// What a statistic may ask when it is read; rows are counted from the start of the block (window 0: of the series).
template <class V>
struct ViewOf {
    V x;     // the current value
    V row;   // the current row
    V from;  // the first row of the window
};
typedef ViewOf<D> View;

template <class Stat>
struct Side {
    Stat head;
    Block<Stat> tail;  // tail[k]: the last k + 1 rows of the block before
    Index held = 0;    // how many it has
    Stat before;       // window 0: all pieces before the head's
};
template <class Stat>
struct Sliding : State {
    Side<Stat> sides[2];
};

template <class Stat>
State* slide_birth(const Instruction&) { return new Sliding<Stat>(); }

// The rows of a register, as V: one side of them, where V is half as wide.
template <class V>
static V* side_of(const Run& run, int reg, int side) { return reinterpret_cast<V*>(run.rows_of<D>(reg)) + side; }

// In: the rows' values for Stat::push; two inputs are a pair.
struct OneInput {
    typedef D V;
    static constexpr int SIDES = 1;
    static constexpr bool refers = false;
    const D* x;
    OneInput(const Run& run, const Step& step, int side) : x(side_of<D>(run, step.in[0], side)) {}
    D current(Index r) const { return x[r]; }
    template <class Stat>
    void push(Stat& stat, Index r, D row, bool newest, I exists) const { stat.push(x[r], row, newest, exists); }
};
struct TwoInputs {
    typedef Half V;
    static constexpr int SIDES = 2;
    static constexpr bool refers = true;
    const Half *x, *y;
    TwoInputs(const Run& run, const Step& step, int side)
        : x(side_of<Half>(run, step.in[0], side)), y(side_of<Half>(run, step.in[1], side)) {}
    Half current(Index r) const { return x[2 * r]; }
    template <class Stat>
    void push(Stat& stat, Index r, Half, bool, HalfMask) const { stat.push(x[2 * r], y[2 * r]); }
    // `back` gets the `count` rows before r, the newest first; each state of it goes to tail.
    template <class Stat>
    void push_back(Stat& back, Index r, Index count, Stat* tail) const {
        const HalfMask free = back.refer(x[2 * r], y[2 * r]);
        if (everywhere(~free))
            for (Index k = 0; k < count; ++k) back.push(x[2 * (r - 1 - k)], y[2 * (r - 1 - k)], free != free), tail[k] = back;
        else
            for (Index k = 0; k < count; ++k) back.push(x[2 * (r - 1 - k)], y[2 * (r - 1 - k)], free), tail[k] = back;
    }
};

template <class V>
static V born_as(const Run& run, const Step& step, int side) {
    const Index* born = run.born_of(step) + side * Index(sizeof(V) / sizeof(double));
    V first;
    for (int l = 0; l < int(sizeof(V) / sizeof(double)); ++l) first[l] = double(born[l]);
    return first;
}

// Window 0: all rows so far.  For every row: emit(row, statistic of the rows up to it, view).  Sums of a million terms are
// sums of pieces, cut at multiples in calendar positions too, so their rounding stays that of a few thousand.
constexpr Index PIECE = 1024;
template <class Stat, class Input, class Emit>
static void grow(Run& run, const Step& step, int side, Side<Stat>& state, const Emit& emit) {
    typedef typename Input::V V;
    const Input input(run, step, side);
    const Index low = run.low(step), high = run.high(step);
    const V first = born_as<V>(run, step, side);
    Stat head = state.head;  // here it lives in registers
    Index phase = (run.base + low) % PIECE;
    for (Index r = low; r < high; ++r, ++phase) {
        if (phase == PIECE) phase = 0;
        if (phase == 0) state.before = Stat::merge(state.before, head), head = Stat();
        const V row = every<V>(double(r)) - first;
        input.push(head, r, row, true, row >= 0.0);
        emit(r, Stat::merge(state.before, head), ViewOf<V>{input.current(r), row, every<V>(0.0)});
    }
    state.head = head;
}

// For every row: emit(row, statistic of its window, view).
template <class Stat, class Input, class Emit>
static void slide(Run& run, const Step& step, int side, Side<Stat>& state, const Emit& emit) {
    if (step.window == 0) return grow<Stat, Input>(run, step, side, state, emit);
    typedef typename Input::V V;
    const Input input(run, step, side);
    const Index low = run.low(step), high = run.high(step), window = step.window;
    const V first = born_as<V>(run, step, side);
    Stat head = state.head;
    Index phase = (run.base + low) % window;
    for (Index r = low; r < high; ++r, ++phase) {
        if (phase == window) phase = 0;
        if (phase == 0) {
            Index count = r < window ? r : window;
            state.tail.reserve(count);
            Stat back;
            if constexpr (Input::refers)
                input.push_back(back, r, count, state.tail.data);
            else
                for (Index k = 0; k < count; ++k) {
                    const Index at = r - 1 - k;
                    input.push(back, at, every<V>(double(-1 - k)), false, every<V>(double(at)) >= first);
                    state.tail[k] = back;
                }
            state.held = count;
            head = Stat();
        }
        const V row = every<V>(double(phase));
        input.push(head, r, row, true, every<V>(double(r)) >= first);
        V from = row - double(window - 1);
        if constexpr (Stat::asks_from) from = larger(from, first - double(r - phase));
        const ViewOf<V> view{input.current(r), row, from};
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
static void over(Run& run, const Step& step, int side, State* state, const Emit& emit) {
    Side<Stat>& own = static_cast<Sliding<Stat>*>(state)->sides[side];
    if constexpr (Only)
        grow<Stat, Input>(run, step, side, own, emit);
    else
        slide<Stat, Input>(run, step, side, own, emit);
}

template <class Stat, class Input, bool Only = false>
void windowed(Run& run, const Instruction& it, State* state) {
    typedef typename Input::V V;
    constexpr Index SIDES = Input::SIDES;
    const Step& step = it.step;
    for (int side = 0; side < SIDES; ++side) {
        V* out[MOST_OUTPUTS];
        for (int j = 0; j < step.outs; ++j) out[j] = side_of<V>(run, step.out[j], side);
        if (step.outs == 1) {
            V* const only = out[0];
            const int what = step.what[0];
            const double parameter = step.parameter[0];
            over<Stat, Input, Only>(run, step, side, state, [=](Index r, const Stat& stat, const ViewOf<V>& view) {
                only[SIDES * r] = stat.read(what, view, parameter);
            });
        } else {
            over<Stat, Input, Only>(run, step, side, state, [&](Index r, const Stat& stat, const ViewOf<V>& view) {
                for (int j = 0; j < step.outs; ++j) out[j][SIDES * r] = stat.read(step.what[j], view, step.parameter[j]);
            });
        }
    }
}
