// Names to code, and the run of a program on one group of eight instruments.

struct Named {
    const char* name;
    Work narrow, wide;  // nullptr: there is no such code
    Birth birth_narrow, birth_wide;
};

static Work find(const Step& step, Birth* birth) {
#define ONE(name, Op) {name, unary<F, Op>, unary<D, Op>, nullptr, nullptr}
#define TWO(name, Op) {name, binary<F, Op>, binary<D, Op>, nullptr, nullptr}
#define WINDOW(name, Stat, Input) {name, nullptr, windowed<Stat, Input>, nullptr, slide_birth<Stat>}
    static const Named table[] = {
        {"load", load, load, nullptr, nullptr},
        {"store", store<F>, store<D>, store_birth, store_birth},
        {"store_div", store_div<F>, store_div<D>, store_birth, store_birth},
        ONE("copy", Copy), ONE("abs", Abs), ONE("log", Log), ONE("sign", Sign), ONE("bitnot", BitNot), ONE("not", Not),
        ONE("holds", Holds), ONE("holds_or_missing", HoldsOrMissing), ONE("missing", Missing), ONE("infinite", Infinite),
        ONE("widen", Widen), ONE("narrow", Narrow),
        TWO("add", Add), TWO("sub", Sub), TWO("mul", Mul), TWO("div", Div), TWO("pow", Power), TWO("floordiv", FloorDiv),
        TWO("mod", Mod), TWO("greater", Greater), TWO("less", Less), TWO("bitand", BitAnd), TWO("bitor", BitOr),
        TWO("gt", Gt), TWO("ge", Ge), TWO("lt", Lt), TWO("le", Le), TWO("eq", Eq), TWO("ne", Ne), TWO("and", And), TWO("or", Or),
        {"choose", choose<F>, choose<D>, nullptr, nullptr},
        WINDOW("count", Counted, OneInput), WINDOW("count_infinite_too", CountedInfiniteToo, OneInput),
        WINDOW("sum", Summed, OneInput), WINDOW("moments1", Moments1, OneInput), WINDOW("moments2", Moments2, OneInput),
        WINDOW("moments4", Moments4, OneInput), {"line", nullptr, line, nullptr, line_birth}, WINDOW("pair", Paired, TwoInputs),
        WINDOW("max", Extreme<true>, OneInput), WINDOW("min", Extreme<false>, OneInput),
        WINDOW("max_place", ExtremePlace<true>, OneInput), WINDOW("min_place", ExtremePlace<false>, OneInput),
        WINDOW("max_place_or_gap", ExtremePlaceOrGap<true>, OneInput), WINDOW("min_place_or_gap", ExtremePlaceOrGap<false>, OneInput),
        {"order", order<F>, order<D>, order_birth<F>, order_birth<D>},
        {"mad", nullptr, mad, nullptr, slide_birth<Moments1>},
        {"ema", nullptr, ema, nullptr, decaying_birth},
        {"ema_expanding", nullptr, ema_expanding, nullptr, nullptr},
        {"shift", shift<F>, shift<D>, nullptr, nullptr},
        {"origin", origin<F>, origin<D>, first_birth<F>, first_birth<D>},
        {"poison", nullptr, poison, nullptr, poison_birth},
        {"blank_where_flat", nullptr, blank_where_flat, nullptr, nullptr},
        {"blank_after_query", blank_after_query<F>, blank_after_query<D>, nullptr, nullptr},
    };
#undef ONE
#undef TWO
#undef WINDOW
    for (const Named& row : table)
        if (strcmp(row.name, step.name) == 0) {
            *birth = step.wide ? row.birth_wide : row.birth_narrow;
            return step.wide ? row.wide : row.narrow;
        }
    return nullptr;
}

class Lanes : public Machine {
  public:
    Lanes(const Code& code) : code_(code) {
        it_.reserve(code.steps);
        states_.reserve(code.steps);
        for (Index i = 0; i < code.steps; ++i) states_[i] = nullptr;
        buffers_ = new Buffer[std::size_t(code.slots)];
        run_.buffers.reserve(code.registers), run_.lag.reserve(code.registers);
        for (Index k = 0; k < code.registers; ++k) {
            run_.buffers[k] = &buffers_[code.reg[k].slot], run_.lag[k] = code.reg[k].lag;
            lag_ = code.reg[k].lag > lag_ ? code.reg[k].lag : lag_;
        }
        run_.born.reserve(code.sets * LANES), run_.died.reserve(code.sets * LANES);
    }
    ~Lanes() override {
        clear();
        delete[] buffers_;
    }
    const char* resolve() {
        for (Index i = 0; i < code_.steps; ++i) {
            it_[i] = Instruction();
            it_[i].step = code_.step[i];
            it_[i].work = find(it_[i].step, &it_[i].birth);
            if (it_[i].work == nullptr) return it_[i].step.name;
        }
        return nullptr;
    }

    void batch(const Job& job, const std::int64_t* lanes) override {
        begin(job, lanes);
        if (run_.rows > 0) go(run_.rows + lag_);
        clear();
        settled();
    }
    // From now on every instrument that was ever listed has every row: a bar that is missing is a row of NaN.
    void open(const Job& job, const std::int64_t* lanes) override {
        begin(job, lanes);
        for (int l = 0; l < LANES; ++l) run_.hull_end[l] = NEVER;
        for (Index k = 0; k < code_.sets * LANES; ++k) run_.died[k] = NEVER;
        go(run_.rows);
    }
    void more(const Job& job) override {
        run_.job = &job;
        Index top = run_.base + run_.rows;
        if (run_.rows == 0) {  // the first instrument of the group
            Index base = NEVER;
            for (int l = 0; l < LANES; ++l)
                if (run_.lanes[l] >= 0 && job.begin[run_.lanes[l]] < job.end[run_.lanes[l]] && Index(job.begin[run_.lanes[l]]) < base)
                    base = Index(job.begin[run_.lanes[l]]);
            if (base == NEVER) return;
            run_.base = top = base;
        }
        for (int l = 0; l < LANES; ++l) {
            const std::int64_t i = run_.lanes[l];
            if (i < 0) continue;
            if (Index(job.end[i]) > top) top = Index(job.end[i]);
            if (run_.hull_begin[l] == NEVER && job.begin[i] < job.end[i]) run_.hull_begin[l] = Index(job.begin[i]) - run_.base;
        }
        for (Index s = 0; s < code_.sets; ++s)
            for (int l = 0; l < LANES; ++l)
                if (run_.born[s * LANES + l] == NEVER) {
                    settle(s, l);
                    run_.died[s * LANES + l] = NEVER;
                }
        run_.rows = top - run_.base;
        go(run_.rows);
    }

  private:
    static constexpr Index NEVER = Index(1) << 60;

    void clear() {
        for (Index i = 0; i < code_.steps; ++i) {
            delete states_[i];
            states_[i] = nullptr;
        }
    }

    // Rows between which instrument l has something of the columns of set s.
    void settle(Index s, int l) {
        const Job& job = *run_.job;
        Index born = NEVER, died = 0;
        const std::int64_t i = run_.lanes[l];
        if (i >= 0)
            for (Index k = Index(code_.set_from[s]); k < Index(code_.set_from[s + 1]); ++k) {
                const Source& source = job.sources[code_.set_source[k]];
                if (source.count[i * source.stride] <= 0) continue;
                Index from = Index(source.first[i * source.stride]), to = from + Index(source.count[i * source.stride]);
                if (from < job.low) from = job.low;
                if (to > job.high + 1) to = job.high + 1;
                if (from >= to) continue;
                from -= run_.base, to -= run_.base;
                born = from < born ? from : born, died = to > died ? to : died;
            }
        if (i < 0) born = 0, died = NEVER;  // nobody looks
        run_.born[s * LANES + l] = born, run_.died[s * LANES + l] = died;
    }

    void begin(const Job& job, const std::int64_t* lanes) {
        clear();
        run_.job = &job;
        Index base = NEVER, top = 0;
        for (int l = 0; l < LANES; ++l) {
            run_.lanes[l] = lanes[l];
            run_.hull_begin[l] = run_.hull_end[l] = NEVER;
            if (lanes[l] < 0) continue;
            Index from = Index(job.begin[lanes[l]]), to = Index(job.end[lanes[l]]);
            if (from < job.low) from = job.low;
            if (to > job.high + 1) to = job.high + 1;
            if (from >= to) continue;
            run_.hull_begin[l] = from, run_.hull_end[l] = to;
            base = from < base ? from : base, top = to > top ? to : top;
        }
        run_.base = top > 0 ? base : 0, run_.rows = top > 0 ? top - base : 0;
        for (int l = 0; l < LANES; ++l)
            if (run_.hull_begin[l] != NEVER) run_.hull_begin[l] -= run_.base, run_.hull_end[l] -= run_.base;
        for (Index s = 0; s < code_.sets; ++s)
            for (int l = 0; l < LANES; ++l) settle(s, l);
        run_.begin = run_.end = run_.done = 0;
        for (Index k = 0; k < code_.slots; ++k) buffers_[k].history = 0;
        for (Index k = 0; k < code_.registers; ++k) {
            const Register& reg = code_.reg[k];
            Buffer& buffer = buffers_[reg.slot];
            buffer.row_bytes = reg.wide ? Index(sizeof(D)) : Index(sizeof(F));
            const Index kept = reg.history < run_.rows + lag_ ? reg.history : run_.rows + lag_;
            buffer.history = kept > buffer.history ? kept : buffer.history;
        }
        for (Index k = 0; k < code_.slots; ++k) {
            Buffer& buffer = buffers_[k];
            const Index slack = buffer.history < CHUNK ? CHUNK : buffer.history;
            buffer.capacity = buffer.history + CHUNK + (buffer.history > 0 ? slack : 0);
            buffer.memory.reserve(buffer.capacity * buffer.row_bytes);
            buffer.at = buffer.history;
            missing(buffer, 0, buffer.history);
        }
        for (Index i = 0; i < code_.steps; ++i) states_[i] = it_[i].birth == nullptr ? nullptr : it_[i].birth(it_[i]);
    }

    static void missing(Buffer& buffer, Index from, Index count) {
        char* rows = buffer.memory.data + from * buffer.row_bytes;
        if (buffer.row_bytes == Index(sizeof(D)))
            for (Index k = 0; k < count; ++k) reinterpret_cast<D*>(rows)[k] = all(NaN);
        else
            for (Index k = 0; k < count; ++k) reinterpret_cast<F*>(rows)[k] = all(float(NaN));
    }

    // Room for the chunk; the history moves to the front where there is none.
    void advance(Buffer& buffer, Index rows_done, Index rows_next) {
        if (buffer.history == 0) return;
        buffer.at += rows_done;
        if (buffer.at + rows_next <= buffer.capacity) return;
        memmove(buffer.memory.data, buffer.memory.data + (buffer.at - buffer.history) * buffer.row_bytes,
                std::size_t(buffer.history * buffer.row_bytes));
        buffer.at = buffer.history;
    }

    // A live market has grown beyond what was kept: longer histories, for windows longer than the market was old.
    void grow() {
        for (Index k = 0; k < code_.registers; ++k) {
            const Register& reg = code_.reg[k];
            Buffer& buffer = buffers_[reg.slot];
            const Index needed = reg.history < run_.end ? reg.history : run_.end;
            if (needed <= buffer.history) continue;
            const Index history = 2 * needed < reg.history ? 2 * needed : reg.history;
            Block<char> old;
            old.data = buffer.memory.data, old.size = buffer.memory.size;
            buffer.memory.data = nullptr, buffer.memory.size = 0;
            const Index from = buffer.at - buffer.history, count = buffer.history + run_.done;
            buffer.capacity = 2 * history + CHUNK;
            buffer.memory.reserve(buffer.capacity * buffer.row_bytes);
            const Index added = history - buffer.history;
            missing(buffer, 0, added);
            memcpy(buffer.memory.data + added * buffer.row_bytes, old.data + from * buffer.row_bytes,
                   std::size_t(count * buffer.row_bytes));
            buffer.history = history, buffer.at = history;
        }
    }

    void go(Index to) {
        while (run_.end < to) {
            run_.done = run_.end - run_.begin;
            const Index next = run_.end + CHUNK < to ? run_.end + CHUNK : to;
            grow();
            for (Index k = 0; k < code_.slots; ++k) advance(buffers_[k], run_.done, next - run_.end);
            run_.begin = run_.end, run_.end = next;
            for (Index i = 0; i < code_.steps; ++i) {
                const double begun = seconds == nullptr ? 0 : now();
                it_[i].work(run_, it_[i], states_[i]);
                if (it_[i].step.revives) revive(it_[i].step);
                if (seconds != nullptr) seconds[i] += now() - begun;
            }
        }
    }

    static double now() {
        timespec at;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
        return double(at.tv_sec) + 1e-9 * double(at.tv_nsec);
    }

    void revive(const Step& step) {
        for (int j = 0; j < step.outs; ++j) {
            if (code_.reg[step.out[j]].wide)
                blank(run_, step, run_.rows_of<D>(step.out[j]));
            else
                blank(run_, step, run_.rows_of<F>(step.out[j]));
        }
    }

    Code code_;
    Run run_;
    Index lag_ = 0;
    Block<Instruction> it_;
    Block<State*> states_;
    Buffer* buffers_ = nullptr;
};

static Machine* make(const Code& code, const char** wrong) {
    Lanes* lanes = new Lanes(code);
    *wrong = lanes->resolve();
    if (*wrong == nullptr) return lanes;
    delete lanes;
    return nullptr;
}
