// Eight instruments side by side: the types, and the few operations on them that C++ does not spell.
//
//     row r   | a b c d e f g h |        a lane is one instrument, a row is one calendar position
//
//     F  eight float32      J  their masks      D  eight float64      I  their masks
//
// D is two halves, as wide as the registers of most machines: left to itself the compiler takes eight float64 apart one by
// one where it has no register for them.  Included once per instruction set, inside a namespace of its own (isa.hpp); so no include guard,
// and no standard containers, whose code the linker would share between the instruction sets.

constexpr int LANES = 8;
constexpr double NaN = __builtin_nan("");
constexpr double INF = __builtin_inf();

typedef float F __attribute__((vector_size(32), may_alias));
typedef decltype(F{} < F{}) J;
static inline F all(float x) { return F{x, x, x, x, x, x, x, x}; }
static inline F pick(J mask, F yes, F no) { return mask ? yes : no; }

typedef double Half __attribute__((vector_size(32), may_alias));
typedef decltype(Half{} < Half{}) HalfMask;
typedef float HalfF __attribute__((vector_size(16), may_alias));
static inline Half pick(HalfMask mask, Half yes, Half no) { return mask ? yes : no; }
static inline bool everywhere(HalfMask mask) {
#if defined(__AVX__)
    return _mm256_movemask_pd((__m256d)mask) == 15;
#else
    return mask[0] && mask[1] && mask[2] && mask[3];
#endif
}
static inline Half root(Half x) {
#if defined(__AVX__)
    return (Half)_mm256_sqrt_pd((__m256d)x);
#else
    return Half{__builtin_sqrt(x[0]), __builtin_sqrt(x[1]), __builtin_sqrt(x[2]), __builtin_sqrt(x[3])};
#endif
}
struct I {
    HalfMask low, high;
};
struct D {
    Half low, high;
    double& operator[](int l) { return reinterpret_cast<double*>(this)[l]; }
    double operator[](int l) const { return reinterpret_cast<const double*>(this)[l]; }
};
static inline Half half(double x) { return Half{x, x, x, x}; }
static inline D all(double x) { return {half(x), half(x)}; }
#define ARITHMETIC(op)                                                                      \
    static inline D operator op(D a, D b) { return {a.low op b.low, a.high op b.high}; }    \
    static inline D operator op(D a, double b) { return a op all(b); }                      \
    static inline D operator op(double a, D b) { return all(a) op b; }                      \
    static inline D& operator op##=(D& a, D b) { return a = a op b; }                       \
    static inline D& operator op##=(D& a, double b) { return a = a op all(b); }
ARITHMETIC(+)
ARITHMETIC(-)
ARITHMETIC(*)
ARITHMETIC(/)
#undef ARITHMETIC
#define QUESTION(op)                                                                     \
    static inline I operator op(D a, D b) { return {a.low op b.low, a.high op b.high}; } \
    static inline I operator op(D a, double b) { return a op all(b); }
QUESTION(<)
QUESTION(<=)
QUESTION(>)
QUESTION(>=)
QUESTION(==)
QUESTION(!=)
#undef QUESTION
static inline D operator-(D a) { return {-a.low, -a.high}; }
static inline I operator&(I a, I b) { return {a.low & b.low, a.high & b.high}; }
static inline I operator|(I a, I b) { return {a.low | b.low, a.high | b.high}; }
static inline I& operator|=(I& a, I b) { return a = a | b; }
static inline I operator~(I a) { return {~a.low, ~a.high}; }
static inline I& operator+=(I& a, I b) { return a = {a.low + b.low, a.high + b.high}; }
static inline D pick(I mask, D yes, D no) {
    return {mask.low ? yes.low : no.low, mask.high ? yes.high : no.high};
}
static inline bool everywhere(I mask) { return everywhere(mask.low & mask.high); }
static inline bool everywhere(J mask) {
#if defined(__AVX__)
    return _mm256_movemask_ps((__m256)mask) == 255;
#else
    bool yes = true;
    for (int l = 0; l < LANES; ++l) yes = yes && mask[l];
    return yes;
#endif
}
static inline D root(D x) { return {root(x.low), root(x.high)}; }
static inline D wide(F x) {
    return {__builtin_convertvector(__builtin_shufflevector(x, x, 0, 1, 2, 3), Half),
            __builtin_convertvector(__builtin_shufflevector(x, x, 4, 5, 6, 7), Half)};
}
static inline F narrow(D x) {
    return __builtin_shufflevector(__builtin_convertvector(x.low, HalfF), __builtin_convertvector(x.high, HalfF), 0, 1, 2, 3, 4,
                                   5, 6, 7);
}
static inline D wide(D x) { return x; }
static inline F narrow(F x) { return x; }

static inline F number(J count) { return __builtin_convertvector(count, F); }
static inline D number(I count) { return {__builtin_convertvector(count.low, Half), __builtin_convertvector(count.high, Half)}; }

template <class V>
V every(double x);
template <>
inline D every<D>(double x) { return all(x); }
template <>
inline F every<F>(double x) { return all(float(x)); }
template <>
inline Half every<Half>(double x) { return half(x); }

static inline HalfMask seen(Half x) { return (x - x) == 0.0; }
static inline I seen(D x) { return (x - x) == 0.0; }  // neither missing nor infinite
static inline J seen(F x) { return (x - x) == 0.0F; }
template <class V>
static inline V smaller(V a, V b) { return pick(a < b, a, b); }
template <class V>
static inline V larger(V a, V b) { return pick(a > b, a, b); }

// Memory of whole rows, zeroed by nobody.
template <class T>
struct Block {
    T* data = nullptr;
    Index size = 0;
    Block() = default;
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() { free(data); }
    void reserve(Index count) {  // what was there is gone where it must grow
        if (count <= size) return;
        free(data);
        data = static_cast<T*>(aligned_alloc(64, (sizeof(T) * std::size_t(count) + 63) / 64 * 64));
        if (data == nullptr) throw std::bad_alloc();
        size = count;
    }
    T& operator[](Index i) { return data[i]; }
};
