// Rolling statistics over one instrument's series.
//
// A statistic is a struct with push / merge / value (statistics.hpp); the window is here, so none repeats the loop.
// Nothing is ever subtracted from a running sum.  The calendar is cut into blocks as long as the window:
//
//     ... | tail: sums from row k to the end of the block before | head: sums from the block's first row on | ...
//                      k = i - window + 1                                          i
//
// and the window that ends at row i is merge(tail[k], head).  Three things follow.  A value costs two pushes and one
// merge, whatever the window.  Rounding does not pile up over a long series, and an infinite or missing value is gone
// with the window that held it.  And because blocks are cut at multiples of the window in *calendar* positions, a value
// has the same bits wherever the query began.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace qlib_kernels {

using Index = std::ptrdiff_t;
constexpr double NaN = std::numeric_limits<double>::quiet_NaN();

// What a statistic may ask when it is turned into a number; rows are counted from the start of the block.
struct View {
    double x;          // the current value
    Index row;         // the current row
    Index from;        // the first row of the window
    double parameter;  // tolerance or whatever the kernel's name says
};

inline bool seen(double x) { return std::isfinite(x); }

// For every row i: push(stat, i, row) whatever is new, then emit(i, stat, row, from) with the window's statistic, `row` and
// `from` (the current and the first row of the window) counted from the start of the block.  Window 0: everything so far.
template <class Stat, class Push, class Emit>
void slide(Index rows, Index first, Index window, const Push& push, const Emit& emit) {
    if (rows == 0) return;
    if (window == 0) {
        Stat head;
        for (Index i = 0; i < rows; ++i) push(head, i, i), emit(i, head, i, Index(0));
        return;
    }
    std::vector<Stat> tail(std::size_t(std::min(window, rows)));
    Index tail_from = 0;
    for (Index begin = -(first % window); begin < rows; begin += window) {
        const Index low = std::max(begin, Index(0)), high = std::min(begin + window, rows);
        Stat head;
        for (Index i = low; i < high; ++i) {
            push(head, i, i - begin);
            const Index from = std::max(i - window + 1, Index(0));
            if (from < begin)
                emit(i, Stat::merge(tail[std::size_t(from - tail_from)], head), i - begin, from - begin);
            else
                emit(i, head, i - begin, from - begin);
        }
        if (begin + window < rows) {
            Stat back;
            for (Index i = high; i-- > low;) {
                push(back, i, i - (begin + window));
                tail[std::size_t(i - low)] = back;
            }
            tail_from = low;
        }
    }
}

template <class Stat, class In, class Out>
void roll(const In* x, Index rows, Index first, Index window, double parameter, Out* out) {
    slide<Stat>(
        rows, first, window,
        [x](Stat& stat, Index i, Index row) {
            if (seen(double(x[i]))) stat.push(double(x[i]), row);
        },
        [x, out, parameter](Index i, const Stat& stat, Index row, Index from) {
            out[i] = Out(stat.value({double(x[i]), row, from, parameter}));
        });
}

template <class Stat, class In, class Out>
void roll_gaps(const In* x, Index rows, Index first, Index window, double parameter, Out* out) {
    slide<Stat>(
        rows, first, window,
        [x](Stat& stat, Index i, Index row) {
            if (seen(double(x[i])))
                stat.push(double(x[i]), row);
            else
                stat.miss(double(x[i]), row);
        },
        [x, out, parameter](Index i, const Stat& stat, Index row, Index from) {
            out[i] = Out(stat.value({double(x[i]), row, from, parameter}));
        });
}

template <class Stat, class In, class Out>
void roll_pair(const In* x, const In* y, Index rows, Index first, Index window, double parameter, Out* out) {
    slide<Stat>(
        rows, first, window,
        [x, y](Stat& stat, Index i, Index) {
            if (seen(double(x[i])) && seen(double(y[i]))) stat.push(double(x[i]), double(y[i]));
        },
        [out, parameter](Index i, const Stat& stat, Index, Index) { out[i] = Out(stat.value(parameter)); });
}

}  // namespace qlib_kernels
