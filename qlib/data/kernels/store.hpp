// From registers to the rows of the result.
//
//     rows        of eight instruments each, as they stand in a register, or as they are computed
//     turned      the same by instrument, behind the last values of the chunk before
//     memory      every instrument's values in their place, whole lines of memory at once
//
// A result that no cache holds is written past the cache, which would else read each line of memory before it is
// overwritten, and lose what the program works on.  Only whole lines may go: a line of which one half goes there and the
// other into the cache costs more than it saves.  So the values behind the last whole line wait for the next chunk.

constexpr Index LINE = 64 / sizeof(float);  // values of a line of memory

// A run of rows of one instrument that go to one place, and what of it lies in this chunk.
struct Piece {
    int lane;
    Index low, high;  // its rows in the chunk
    Index at;         // where the first of them goes
    Index before;     // rows of the run in earlier chunks
    bool goes_on;     // into the next
};

template <class Each>
static void each_piece(const Run& run, const Target& target, Index low, Index high, const Each& each) {
    const Job& job = *run.job;
    for (int l = 0; l < LANES; ++l) {
        const std::int64_t i = run.lanes[l];
        if (i < 0) continue;
        const auto piece = [&](Index begin, Index end, Index at) {
            if (begin < 0) at -= begin, begin = 0;
            if (end > run.rows) end = run.rows;
            const Index from = low > begin ? low : begin, to = high < end ? high : end;
            if (from < to) each(Piece{l, from, to, at + (from - begin), from - begin, end > high});
        };
        if (!target.kept) {
            piece(run.hull_begin[l], run.hull_end[l], Index(job.start[i]));
            continue;
        }
        for (std::int64_t k = job.range_of[i]; k < job.range_of[i + 1]; ++k)
            piece(Index(job.range_low[k]) - run.base, Index(job.range_high[k]) - run.base, Index(job.range_to[k]));
    }
}

// ------------------------------------------------------------------------------------------------ lines of memory
static inline Index behind(const float* to) { return Index(reinterpret_cast<std::uintptr_t>(to) / sizeof(float)) % LINE; }

static inline void put(const float* from, float* to, Index count) { memcpy(to, from, sizeof(float) * std::size_t(count)); }

static inline void put_line(const float* from, float* to) {
#if defined(__AVX__)
    const __m256 a = _mm256_loadu_ps(from), b = _mm256_loadu_ps(from + 8);
    _mm256_stream_ps(to, a), _mm256_stream_ps(to + 8, b);
#elif defined(__x86_64__)
    for (int k = 0; k < LINE; k += 4) _mm_stream_ps(to + k, _mm_loadu_ps(from + k));
#else
    put(from, to, LINE);
#endif
}

// What went past the cache is there for other threads.
static inline void settled() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

// `count` values of a run, `before` of which stood in earlier chunks: as many as wait stand before `from`.
static void put_lines(const float* from, float* to, Index count, Index before, bool goes_on) {
    const Index waiting = behind(to) < before ? behind(to) : before;
    from -= waiting, to -= waiting, count += waiting;
    if (const Index others = behind(to); others > 0) {  // the line begins with values that are not of this run
        const Index rest = LINE - others;
        if (count < rest && goes_on) return;
        const Index own = count < rest ? count : rest;
        put(from, to, own);
        from += own, to += own, count -= own;
    }
    for (; count >= LINE; count -= LINE, from += LINE, to += LINE) put_line(from, to);
    if (!goes_on) put(from, to, count);
}

// ------------------------------------------------------------------------------------------------ rows to the result
struct Waiting : State {
    F last[LANES][2] = {};  // the values of each instrument before the chunk, as many as a line has
};
static State* store_birth(const Instruction&) { return new Waiting; }

template <class V, class Rows>
static void store_turned(const Run& run, const Target& target, Index low, Index high, const Rows& rows, Waiting& state) {
    constexpr Index ROW = LINE + CHUNK, WIDTH = LANES;  // an F holds eight rows of one instrument here
    const Index count = high - low, lines = count / LINE;
    const bool past_cache = run.job->past_cache;
    alignas(64) float turned[LANES * ROW];
    for (int l = 0; l < LANES; ++l)
        for (int k = 0; k < 2; ++k) reinterpret_cast<F*>(turned + l * ROW)[k] = state.last[l][k];

    // Instruments that want the whole chunk and are past the first line of their run: a line of each with every LINE
    // rows, so that memory takes them while the next are computed.
    int flows = 0;
    const float* from[LANES];
    float* to[LANES];
    Index written[LANES] = {};
    if (past_cache)
        each_piece(run, target, low, high, [&](const Piece& piece) {
            float* const first = static_cast<float*>(target.base) + piece.at;
            if (piece.low > low || piece.high < high || piece.before < behind(first)) return;
            from[flows] = turned + piece.lane * ROW + LINE - behind(first), to[flows] = first - behind(first), ++flows;
            written[piece.lane] = lines * LINE;
        });
    const auto flow = [&](Index line) {
        for (int k = 0; k < flows; ++k) put_line(from[k] + line * LINE, to[k] + line * LINE);
    };
    for (Index line = 0; line < lines; ++line) {
        for (Index r = line * LINE; r < (line + 1) * LINE; r += LANES) {
            V block[LANES];
            for (int k = 0; k < LANES; ++k) block[k] = rows(low + r + k);
            turn(block, reinterpret_cast<F*>(turned + LINE + r), ROW / WIDTH);
        }
        if (line > 0) flow(line - 1);  // what was just turned is still on its way to the cache
    }
    if (lines > 0) flow(lines - 1);
    for (Index r = lines * LINE; r < count; ++r) {
        const F row = narrow(rows(low + r));
        for (int l = 0; l < LANES; ++l) turned[l * ROW + LINE + r] = row[l];
    }
    for (int l = 0; l < LANES; ++l) memcpy(state.last[l], turned + l * ROW + count, sizeof(state.last[l]));

    each_piece(run, target, low, high, [&](const Piece& piece) {
        const Index skip = written[piece.lane], left = piece.high - piece.low - skip;
        const float* const rest = turned + piece.lane * ROW + LINE + (piece.low - low) + skip;
        float* const there = static_cast<float*>(target.base) + piece.at + skip;
        if (past_cache)
            put_lines(rest, there, left, piece.before + skip, piece.goes_on);
        else
            put(rest, there, left);
    });
}

// float64, for programs to come.
template <class V, class Rows>
static void store_wide(const Run& run, const Target& target, Index low, Index high, const Rows& rows) {
    D block[CHUNK];
    for (Index r = low; r < high; ++r) block[r - low] = wide(rows(r));
    each_piece(run, target, low, high, [&](const Piece& piece) {
        double* const to = static_cast<double*>(target.base) + piece.at;
        for (Index r = piece.low; r < piece.high; ++r) to[r - piece.low] = block[r - low][piece.lane];
    });
}

// To rows that a table names: where eight instruments of a date follow one another, they go there at once.
template <class Rows>
static void store_by_table(const Run& run, const Target& target, Index low, Index high, const Rows& rows) {
    const Job& job = *run.job;
    float* const out = static_cast<float*>(target.base);
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
            const F values = narrow(rows(r));
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
    F block[CHUNK];
    for (Index r = low; r < high; ++r) block[r - low] = narrow(rows(r));
    for (int l = 0; l < LANES; ++l) {
        const std::int64_t i = run.lanes[l];
        for (std::int64_t k = i < 0 ? 0 : job.range_of[i]; i >= 0 && k < job.range_of[i + 1]; ++k) {
            const Index begin = Index(job.range_low[k]) - run.base, end = Index(job.range_high[k]) - run.base;
            const std::int64_t* table = job.row_of + job.range_to[k] - begin;
            for (Index r = low > begin ? low : begin; r < (high < end ? high : end); ++r) out[table[r]] = block[r - low][l];
        }
    }
}

template <class V, class Rows>
static void store_rows(Run& run, const Step& step, State* state, const Rows& rows) {
    const Target& target = run.job->targets[step.place];
    const Index low = run.low(step), high = run.high(step);
    if (low >= high) return;
    if (target.kept && run.job->row_of != nullptr)
        store_by_table(run, target, low, high, rows);
    else if (target.wide)
        store_wide<V>(run, target, low, high, rows);
    else
        store_turned<V>(run, target, low, high, rows, *static_cast<Waiting*>(state));
}

template <class V>
void store(Run& run, const Instruction& it, State* state) {
    const V* x = run.rows_of<V>(it.step.in[0]);
    store_rows<V>(run, it.step, state, [=](Index r) { return x[r]; });
}

// A quotient that nothing else reads: the processor divides while memory takes the lines before.
template <class V>
void store_div(Run& run, const Instruction& it, State* state) {
    const Step& step = it.step;
    const V left = every<V>(step.scalar[0]), right = every<V>(step.scalar[1]);
    const Index by_x = step.in[0] >= 0, by_y = step.in[1] >= 0;  // a number stands still
    const V *x = by_x ? run.rows_of<V>(step.in[0]) : &left, *y = by_y ? run.rows_of<V>(step.in[1]) : &right;
    store_rows<V>(run, step, state, [=](Index r) { return x[r * by_x] / y[r * by_y]; });
}
