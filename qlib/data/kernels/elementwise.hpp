// One row at a time: arithmetic, questions, choices.  V is F (float32) or D (float64); a side may be a number.

template <class V, class Each>
static inline V each(V x, const Each& f) {
    for (int l = 0; l < LANES; ++l) x[l] = f(x[l]);
    return x;
}
template <class V, class Each>
static inline V each(V x, V y, const Each& f) {
    for (int l = 0; l < LANES; ++l) x[l] = f(x[l], y[l]);
    return x;
}
static inline F truth(J mask) { return pick(mask, all(1.0F), all(0.0F)); }
static inline F truth(I mask) { return narrow(pick(mask, all(1.0), all(0.0))); }

// numpy's floor division and remainder: the remainder has the sign of the divisor.
template <class T>
static T remainder_of(T a, T b, T* quotient) {
    T mod = std::fmod(a, b);
    if (b == 0) {
        *quotient = a / b;
        return mod;
    }
    T div = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) mod += b, div -= T(1);
    } else {
        mod = std::copysign(T(0), b);
    }
    if (div != 0) {
        T whole = std::floor(div);
        if (div - whole > T(0.5)) whole += T(1);
        div = whole;
    } else {
        div = std::copysign(T(0), a / b);
    }
    *quotient = div;
    return mod;
}
template <class T>
static long long whole(T x) { return static_cast<long long>(x); }

// Same in and out.
struct Add { template <class V> static V of(V a, V b) { return a + b; } };
struct Sub { template <class V> static V of(V a, V b) { return a - b; } };
struct Mul { template <class V> static V of(V a, V b) { return a * b; } };
struct Div { template <class V> static V of(V a, V b) { return a / b; } };
struct Greater { template <class V> static V of(V a, V b) { return pick(a != a, a, pick((b > a) | (b != b), b, a)); } };
struct Less { template <class V> static V of(V a, V b) { return pick(a != a, a, pick((b < a) | (b != b), b, a)); } };
struct Power { template <class V> static V of(V a, V b) { return each(a, b, [](auto x, auto y) { return std::pow(x, y); }); } };
struct FloorDiv {
    template <class V>
    static V of(V a, V b) { return each(a, b, [](auto x, auto y) { auto q = x; remainder_of(x, y, &q); return q; }); }
};
struct Mod {
    template <class V>
    static V of(V a, V b) { return each(a, b, [](auto x, auto y) { auto q = x; return remainder_of(x, y, &q); }); }
};
// Whole numbers, bit by bit.
struct BitAnd { template <class V> static V of(V a, V b) { return each(a, b, [](auto x, auto y) { return decltype(x)(whole(x) & whole(y)); }); } };
struct BitOr { template <class V> static V of(V a, V b) { return each(a, b, [](auto x, auto y) { return decltype(x)(whole(x) | whole(y)); }); } };
// A question is 1 or 0, as float32.
struct Gt { template <class V> static F of(V a, V b) { return truth(a > b); } };
struct Ge { template <class V> static F of(V a, V b) { return truth(a >= b); } };
struct Lt { template <class V> static F of(V a, V b) { return truth(a < b); } };
struct Le { template <class V> static F of(V a, V b) { return truth(a <= b); } };
struct Eq { template <class V> static F of(V a, V b) { return truth(a == b); } };
struct Ne { template <class V> static F of(V a, V b) { return truth(a != b); } };
struct And { template <class V> static F of(V a, V b) { return truth((a == every<V>(1)) & (b == every<V>(1))); } };
struct Or { template <class V> static F of(V a, V b) { return truth((a == every<V>(1)) | (b == every<V>(1))); } };

struct Copy { template <class V> static V of(V a) { return a; } };
struct Abs { template <class V> static V of(V a) { return pick(a < every<V>(0), -a, a) + every<V>(0); } };
struct Log { template <class V> static V of(V a) { return each(a, [](auto x) { return std::log(x); }); } };
struct Sign { template <class V> static V of(V a) { return pick(a > every<V>(0), every<V>(1), pick(a < every<V>(0), every<V>(-1), a)); } };
struct BitNot { template <class V> static V of(V a) { return each(a, [](auto x) { return decltype(x)(~whole(x)); }); } };
struct Not { template <class V> static F of(V a) { return truth(a != every<V>(1)); } };
struct Holds { template <class V> static F of(V a) { return truth((a != every<V>(0)) & (a == a)); } };       // as a condition
struct HoldsOrMissing { template <class V> static F of(V a) { return truth(a != every<V>(0)); } };  // Qlib's
struct Missing { template <class V> static F of(V a) { return truth(a != a); } };
struct Infinite { template <class V> static F of(V a) { return truth((a == a) & ~seen(a)); } };
struct Widen { static D of(F a) { return wide(a); } static D of(D a) { return a; } };
struct Narrow { static F of(D a) { return narrow(a); } static F of(F a) { return a; } };

template <class V, class Op>
void unary(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    const V* x = run.rows_of<V>(step.in[0]);
    auto* out = run.rows_of<decltype(Op::of(V{}))>(step.out[0]);
    for (Index r = run.low(step), high = run.high(step); r < high; ++r) out[r] = Op::of(x[r]);
}

template <class V, class Op>
void binary(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    auto* out = run.rows_of<decltype(Op::of(V{}, V{}))>(step.out[0]);
    const Index low = run.low(step), high = run.high(step);
    if (step.in[0] < 0) {
        const V x = every<V>(step.scalar[0]), *y = run.rows_of<V>(step.in[1]);
        for (Index r = low; r < high; ++r) out[r] = Op::of(x, y[r]);
    } else if (step.in[1] < 0) {
        const V *x = run.rows_of<V>(step.in[0]), y = every<V>(step.scalar[1]);
        for (Index r = low; r < high; ++r) out[r] = Op::of(x[r], y);
    } else {
        const V *x = run.rows_of<V>(step.in[0]), *y = run.rows_of<V>(step.in[1]);
        for (Index r = low; r < high; ++r) out[r] = Op::of(x[r], y[r]);
    }
}

static inline I mask_of(F condition, D) { return wide(condition) != 0.0; }
static inline J mask_of(F condition, F) { return condition != 0.0F; }

template <class V>
void choose(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    const F* condition = run.rows_of<F>(step.in[0]);
    V* out = run.rows_of<V>(step.out[0]);
    const V left = every<V>(step.scalar[1]), right = every<V>(step.scalar[2]);
    const V* x = step.in[1] < 0 ? nullptr : run.rows_of<V>(step.in[1]);
    const V* y = step.in[2] < 0 ? nullptr : run.rows_of<V>(step.in[2]);
    for (Index r = run.low(step), high = run.high(step); r < high; ++r)
        out[r] = pick(mask_of(condition[r], left), x == nullptr ? left : x[r], y == nullptr ? right : y[r]);
}
