// Between columns in memory, where an instrument's rows follow one another, and registers, where instruments do.

// Eight rows of eight instruments, turned over.
static inline void turn(F* m) {
    typedef int P __attribute__((vector_size(32)));
    F a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = __builtin_shuffle(m[i], m[i + 1], P{0, 8, 2, 10, 4, 12, 6, 14});
        a[i + 1] = __builtin_shuffle(m[i], m[i + 1], P{1, 9, 3, 11, 5, 13, 7, 15});
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; ++j) {
            b[i + j] = __builtin_shuffle(a[i + j], a[i + j + 2], P{0, 1, 8, 9, 4, 5, 12, 13});
            b[i + j + 2] = __builtin_shuffle(a[i + j], a[i + j + 2], P{2, 3, 10, 11, 6, 7, 14, 15});
        }
    for (int i = 0; i < 4; ++i) {
        m[i] = __builtin_shuffle(b[i], b[i + 4], P{0, 1, 2, 3, 8, 9, 10, 11});
        m[i + 4] = __builtin_shuffle(b[i], b[i + 4], P{4, 5, 6, 7, 12, 13, 14, 15});
    }
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
            turn(m);
            for (int k = 0; k < LANES; ++k) out[r + k] = m[k];
        }
    if (r < high)
        for (int l = 0; l < LANES; ++l) load_lane<float>(run, source, l, r, high, out);
}

template <class In, class Out>
static void copy_lane(const In* rows, Index count, Out* out) {
    for (Index k = 0; k < count; ++k) out[k] = Out(rows[k * LANES]);
}

template <class In, class Out>
static void store_lanes(const Run& run, const Job& job, const Target& target, Index low, Index high, const In* rows) {
    Out* const base = static_cast<Out*>(target.base);
    for (int l = 0; l < LANES; ++l) {
        const std::int64_t i = run.lanes[l];
        if (i < 0) continue;
        if (!target.kept) {
            const Index from = low > run.hull_begin[l] ? low : run.hull_begin[l], to = high < run.hull_end[l] ? high : run.hull_end[l];
            if (from < to) copy_lane(rows + from * LANES + l, to - from, base + job.start[i] + (from - run.hull_begin[l]));
            continue;
        }
        for (std::int64_t k = job.range_of[i]; k < job.range_of[i + 1]; ++k) {
            const Index begin = Index(job.range_low[k]) - run.base, end = Index(job.range_high[k]) - run.base;
            const Index from = low > begin ? low : begin, to = high < end ? high : end;
            if (from < to) copy_lane(rows + from * LANES + l, to - from, base + job.range_to[k] + (from - begin));
        }
    }
}

// The same, to rows that a table names: where eight instruments of a date follow one another, they go there at once.
template <class V>
static void store_by_table(const Run& run, const Job& job, const Target& target, Index low, Index high, const V* x) {
    typedef typename MaskOf<V>::T T;
    float* const out = static_cast<float*>(target.base);
    const T* rows = reinterpret_cast<const T*>(x);
    const std::int64_t* to[LANES];
    bool whole = true;
    for (int l = 0; l < LANES; ++l) {
        const std::int64_t i = run.lanes[l];
        bool all_rows = false;
        for (std::int64_t k = i < 0 ? 0 : job.range_of[i]; i >= 0 && k < job.range_of[i + 1]; ++k) {
            const Index begin = Index(job.range_low[k]) - run.base, end = Index(job.range_high[k]) - run.base;
            if (begin <= low && end >= high) to[l] = job.row_of + job.range_to[k] - begin, all_rows = true;
        }
        whole = whole && all_rows;
    }
    if (whole) {
        for (Index r = low; r < high; ++r) {
            const F values = narrow(x[r]);
            float* const first = out + to[0][r];
            bool follow = true;
            for (int l = 1; l < LANES; ++l) follow = follow && to[l][r] == to[0][r] + l;
            if (follow)
                memcpy(first, &values, sizeof(F));
            else
                for (int l = 0; l < LANES; ++l) out[to[l][r]] = values[l];
        }
        return;
    }
    for (int l = 0; l < LANES; ++l) {
        const std::int64_t i = run.lanes[l];
        for (std::int64_t k = i < 0 ? 0 : job.range_of[i]; i >= 0 && k < job.range_of[i + 1]; ++k) {
            const Index begin = Index(job.range_low[k]) - run.base, end = Index(job.range_high[k]) - run.base;
            const std::int64_t* table = job.row_of + job.range_to[k] - begin;
            for (Index r = low > begin ? low : begin; r < (high < end ? high : end); ++r) out[table[r]] = float(rows[r * LANES + l]);
        }
    }
}

template <class V>
void store(Run& run, const Instruction& it, State*) {
    typedef typename MaskOf<V>::T T;
    const Step& step = it.step;
    const Job& job = *run.job;
    const Target& target = job.targets[step.place];
    const Index low = run.low(step), high = run.high(step);
    if (low >= high) return;
    const V* x = run.rows_of<V>(step.in[0]);
    const T* rows = reinterpret_cast<const T*>(x);
    if (target.kept && job.row_of != nullptr) return store_by_table<V>(run, job, target, low, high, x);
    if (target.wide) return store_lanes<T, double>(run, job, target, low, high, rows);
    // All eight lanes want all of these rows: whole squares are turned over.
    float* to[LANES];
    bool whole = target.kept;
    for (int l = 0; l < LANES && whole; ++l) {
        const std::int64_t i = run.lanes[l];
        whole = false;
        if (i < 0) break;
        for (std::int64_t k = job.range_of[i]; k < job.range_of[i + 1] && !whole; ++k)
            if (job.range_low[k] - run.base <= low && job.range_high[k] - run.base >= high) {
                to[l] = static_cast<float*>(target.base) + job.range_to[k] - (job.range_low[k] - run.base);
                whole = true;
            }
    }
    Index r = low;
    if (whole)
        for (; r + LANES <= high; r += LANES) {
            F m[LANES];
            for (int k = 0; k < LANES; ++k) m[k] = narrow(x[r + k]);
            turn(m);
            for (int l = 0; l < LANES; ++l) memcpy(to[l] + r, &m[l], sizeof(F));
        }
    if (r < high) store_lanes<T, float>(run, job, target, r, high, rows);
}
