// What a program is, and the rows it works on: registers of eight lanes, filled chunk by chunk.
//
//     column   load        a register holds the newest rows of one value, and as much history as its readers need:
//     add      compute     | history | chunk |
//     mean     compute     so every instruction reads and writes the first level of the cache, and the state of a
//     output   store       window simply goes on with the next chunk, or with the next bar of a live market
//
// A register lags behind the newest row by as many rows as its formula looks ahead.

constexpr Index CHUNK = 256;  // rows at a time, at most

struct State {
    virtual ~State() {}
};

struct Run;
struct Instruction;
typedef void (*Work)(Run&, const Instruction&, State*);
typedef State* (*Birth)(const Instruction&);

struct Instruction {
    Work work = nullptr;
    Birth birth = nullptr;
    Step step;  // what the plan says: names are resolved, see program.hpp
};

// A register's memory: `at` is the place of the chunk's first row.
struct Buffer {
    Block<char> memory;
    Index capacity = 0, history = 0, at = 0, row_bytes = 0;
};

struct Run {
    const Job* job = nullptr;
    Index base = 0;              // calendar position of row 0
    Index rows = 0;              // rows there are
    Index begin = 0, end = 0;    // the chunk, before lags
    Index done = 0;              // rows of the chunk before
    std::int64_t lanes[LANES];   // instruments, -1 for a lane that is not used
    Index hull_begin[LANES], hull_end[LANES];
    Block<Buffer*> buffers;      // by register
    Block<Index> lag;            // by register
    Block<Index> born, died;     // [set][lane]: rows between which a formula over these columns has rows

    template <class V>
    V* rows_of(int reg) const {  // the pointer p for which p[r] is row r
        const Buffer* buffer = buffers.data[reg];
        return reinterpret_cast<V*>(buffer->memory.data) + buffer->at - (begin - lag.data[reg]);
    }
    Index low(const Step& step) const { return begin > step.lag ? begin - step.lag : 0; }
    Index high(const Step& step) const { return end - step.lag < rows ? end - step.lag : rows; }
    const Index* born_of(const Step& step) const { return born.data + step.set * LANES; }
    const Index* died_of(const Step& step) const { return died.data + step.set * LANES; }
};

// NaN where the formula has no rows: before its columns begin and, where other columns go on, after they end.
template <class V>
static void blank(Run& run, const Step& step, V* out) {
    const Index low = run.low(step), high = run.high(step);
    const Index *born = run.born_of(step), *died = run.died_of(step);
    for (int l = 0; l < LANES; ++l) {
        for (Index r = low; r < high && r < born[l]; ++r) out[r][l] = NaN;
        if (died[l] < run.hull_end[l])
            for (Index r = low > died[l] ? low : died[l]; r < high; ++r) out[r][l] = NaN;
    }
}
