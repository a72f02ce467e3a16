// From columns in memory, where an instrument's rows follow one another, to registers, where instruments do.

// Rows k and k + 4 of four instruments side by side in m[k]: the eight rows of each go to out[0], out[stride] ...
static inline void turn_half(const F* m, F* out, Index stride) {
    const F a = __builtin_shufflevector(m[0], m[1], 0, 8, 1, 9, 4, 12, 5, 13);
    const F b = __builtin_shufflevector(m[0], m[1], 2, 10, 3, 11, 6, 14, 7, 15);
    const F c = __builtin_shufflevector(m[2], m[3], 0, 8, 1, 9, 4, 12, 5, 13);
    const F d = __builtin_shufflevector(m[2], m[3], 2, 10, 3, 11, 6, 14, 7, 15);
    out[0] = __builtin_shufflevector(a, c, 0, 1, 8, 9, 4, 5, 12, 13);
    out[stride] = __builtin_shufflevector(a, c, 2, 3, 10, 11, 6, 7, 14, 15);
    out[2 * stride] = __builtin_shufflevector(b, d, 0, 1, 8, 9, 4, 5, 12, 13);
    out[3 * stride] = __builtin_shufflevector(b, d, 2, 3, 10, 11, 6, 7, 14, 15);
}
static inline F beside(HalfF a, HalfF b) { return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7); }
static inline HalfF low_of(const D& x) { return __builtin_convertvector(x.low, HalfF); }
static inline HalfF high_of(const D& x) { return __builtin_convertvector(x.high, HalfF); }
static inline HalfF low_of(const F& x) { return reinterpret_cast<const HalfF*>(&x)[0]; }
static inline HalfF high_of(const F& x) { return reinterpret_cast<const HalfF*>(&x)[1]; }

// Eight rows of eight instruments, turned over: the rows of instrument l go to out[l * stride].
template <class V>
static inline void turn(const V* rows, F* out, Index stride) {
    F m[4];
    for (int k = 0; k < 4; ++k) m[k] = beside(low_of(rows[k]), low_of(rows[k + 4]));
    turn_half(m, out, stride);
    for (int k = 0; k < 4; ++k) m[k] = beside(high_of(rows[k]), high_of(rows[k + 4]));
    turn_half(m, out + 4 * stride, stride);
}

template <class T, class V>
static void load_lane(const Run& run, const Source& source, int l, Index low, Index high, V* out) {
    const std::int64_t i = run.lanes[l];
    Index from = high, to = high;
    const T* base = nullptr;
    if (i >= 0 && source.count[i * source.stride] > 0) {
        const Index first = Index(source.first[i * source.stride]) - run.base;  // row of the first value
        base = static_cast<const T*>(source.base) + source.offset[i * source.stride] - first;
        from = first, to = first + Index(source.count[i * source.stride]);
        const Index clip_low = run.job->low - run.base, clip_high = run.job->high - run.base + 1;
        if (from < clip_low) from = clip_low;
        if (to > clip_high) to = clip_high;
        if (from < low) from = low;
        if (to > high) to = high;
        if (from > to) from = to = high;
    }
    for (Index r = low; r < from; ++r) out[r][l] = T(NaN);
    for (Index r = from; r < to; ++r) out[r][l] = base[r];
    for (Index r = to; r < high; ++r) out[r][l] = T(NaN);
}

static void load(Run& run, const Instruction& it, State*) {
    const Step& step = it.step;
    const Source& source = run.job->sources[step.place];
    const Index low = run.low(step), high = run.high(step);
    if (source.wide) {
        for (int l = 0; l < LANES; ++l) load_lane<double>(run, source, l, low, high, run.rows_of<D>(step.out[0]));
        return;
    }
    F* out = run.rows_of<F>(step.out[0]);
    const float* base[LANES];
    bool whole = true;
    for (int l = 0; l < LANES && whole; ++l) {
        const std::int64_t i = run.lanes[l];
        if (i < 0) {
            whole = false;
            break;
        }
        const Index first = Index(source.first[i * source.stride]) - run.base;
        whole = first <= low && first + Index(source.count[i * source.stride]) >= high &&
                run.job->low - run.base <= low && run.job->high - run.base + 1 >= high;
        base[l] = static_cast<const float*>(source.base) + source.offset[i * source.stride] - first;
    }
    Index r = low;
    if (whole)
        for (; r + LANES <= high; r += LANES) {
            F m[LANES];
            for (int l = 0; l < LANES; ++l) memcpy(&m[l], base[l] + r, sizeof(F));
            turn(m, out + r, 1);
        }
    if (r < high)
        for (int l = 0; l < LANES; ++l) load_lane<float>(run, source, l, r, high, out);
}
