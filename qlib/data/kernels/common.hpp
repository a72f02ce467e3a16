// What Python says to a program, the same for every instruction set: plain values, no code.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>

namespace qlib_kernels {

using Index = std::ptrdiff_t;

constexpr int MOST_INPUTS = 3, MOST_OUTPUTS = 12;

// One instruction.
struct Step {
    const char* name = "";
    int in[MOST_INPUTS] = {-1, -1, -1};  // registers; -1: the number in `scalar`, or nothing
    double scalar[MOST_INPUTS] = {0, 0, 0};
    int outs = 0;
    int out[MOST_OUTPUTS] = {};           // registers
    int what[MOST_OUTPUTS] = {};          // which statistic each of them gets
    double parameter[MOST_OUTPUTS] = {};  // and what it needs to know
    bool wide = false;                    // computes in float64, else float32
    Index window = 0;
    Index lag = 0;
    int set = 0;     // the columns whose rows the formula has
    bool revives = false;  // makes numbers of missing values: blank where there are no rows
    int place = -1;  // of a source or a target
};

struct Register {
    bool wide = false;
    Index history = 0;  // rows before the chunk that are kept
    Index lag = 0;
    int slot = 0;  // registers of one slot share memory
};

// A column: value k of instrument i stands at base[offset[i] + k], calendar position first[i] + k, k < count[i].
struct Source {
    const void* base = nullptr;
    bool wide = false;
    const std::int64_t *offset = nullptr, *first = nullptr, *count = nullptr;
    Index stride = 1;  // between the entries of the three
};

// Where a result goes: row at position p of instrument i, inside a range [low, high) of it, to base[to + p - low].
struct Target {
    void* base = nullptr;
    bool wide = false;
    bool kept = true;  // only the rows that the caller wants, else all
};

struct Job {
    Index instruments = 0;
    const std::int64_t *begin = nullptr, *end = nullptr;  // hull of each instrument, calendar positions
    const Source* sources = nullptr;
    const Target* targets = nullptr;
    const std::int64_t* range_of = nullptr;  // instruments + 1: the wanted ranges of instrument i
    const std::int64_t *range_low = nullptr, *range_high = nullptr, *range_to = nullptr;
    const std::int64_t* row_of = nullptr;  // if there: what range_to counts in stands at this row instead
    const std::int64_t* start = nullptr;  // row of each instrument where all rows are wanted
    Index low = 0, high = 0;              // clip: positions before and after are not looked at
    Index last = 0;                       // the caller's last position
    bool past_cache = false;              // the results are too large for a cache
};

struct Code {  // a program as Python gives it
    Index steps = 0, registers = 0, sets = 0, slots = 0, sources = 0;
    const Step* step = nullptr;
    const Register* reg = nullptr;
    const std::int64_t *set_from = nullptr, *set_source = nullptr;  // the sources of every set, one after the other
};

class Machine {  // a program on one group of instruments
  public:
    virtual ~Machine() {}
    double* seconds = nullptr;  // of every step, added up, where somebody asks
    virtual void batch(const Job& job, const std::int64_t* lanes) = 0;
    virtual void open(const Job& job, const std::int64_t* lanes) = 0;  // batch that can go on
    virtual void more(const Job& job) = 0;                             // the rows that came since
};

// nullptr where the machine has no such instructions, and for a program with a name that is not known (`wrong`).
Machine* make_baseline(const Code& code, const char** wrong);
Machine* make_v3(const Code& code, const char** wrong);

}  // namespace qlib_kernels
