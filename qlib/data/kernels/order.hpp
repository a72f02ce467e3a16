// Order statistics of a window: quantiles and the place of the current value.
//
// The values of a window in order: a sorted array while it is short, a tree of counts over the ranks of the whole
// series when it is long.  Both hand out the k-th value and how many are smaller, so a statistic cannot tell them apart.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "window.hpp"

namespace qlib_kernels {

template <class In>
class SortedWindow {
  public:
    explicit SortedWindow(Index capacity) : held_(std::size_t(capacity)) {}
    Index size() const { return n_; }
    void insert(In x, Index) {
        const Index at = smaller(x, 0);
        move(at + 1, at, n_++ - at);
        held_[std::size_t(at)] = x;
    }
    void erase(In x, Index) {
        const Index at = smaller(x, 0);
        move(at, at + 1, --n_ - at);
    }
    // The same as erase and insert, moving only what stands between the two.
    void replace(In old, Index, In x, Index) {
        const Index from = smaller(old, 0), to = smaller(x, 0);
        if (to > from)
            move(from, from + 1, to - 1 - from), held_[std::size_t(to - 1)] = x;
        else
            move(to + 1, to, from - to), held_[std::size_t(to)] = x;
    }
    In kth(Index k) const { return held_[std::size_t(k)]; }
    // Counting all beats a binary search, whose branches nobody can predict, while the window is short.
    Index smaller(In x, Index) const {
        if (n_ > 128) return std::lower_bound(held_.begin(), held_.begin() + n_, x) - held_.begin();
        std::conditional_t<sizeof(In) == 4, std::int32_t, std::int64_t> count = 0;  // as wide as In: lanes
        for (Index k = 0; k < n_; ++k) count += held_[std::size_t(k)] < x;
        return Index(count);
    }
    Index equal(In x, Index) const {
        return std::upper_bound(held_.begin(), held_.begin() + n_, x) - held_.begin() - smaller(x, 0);
    }

  private:
    void move(Index to, Index from, Index count) {
        std::memmove(held_.data() + to, held_.data() + from, std::size_t(count) * sizeof(In));
    }
    std::vector<In> held_;
    Index n_ = 0;
};

template <class In>
class CountTree {
  public:
    CountTree(const In* x, Index rows) : rank_(std::size_t(rows)) {
        for (Index i = 0; i < rows; ++i)
            if (seen(double(x[i]))) values_.push_back(x[i]);
        std::sort(values_.begin(), values_.end());
        values_.erase(std::unique(values_.begin(), values_.end()), values_.end());
        for (Index i = 0; i < rows; ++i)
            rank_[std::size_t(i)] = std::lower_bound(values_.begin(), values_.end(), x[i]) - values_.begin();
        tree_.assign(values_.size() + 1, 0);
        count_.assign(values_.size(), 0);
        while (std::size_t(top_) * 2 <= values_.size()) top_ *= 2;
    }
    Index size() const { return n_; }
    void insert(In, Index i) { add(rank_[std::size_t(i)], 1); }
    void erase(In, Index i) { add(rank_[std::size_t(i)], -1); }
    void replace(In, Index old, In, Index i) { add(rank_[std::size_t(old)], -1), add(rank_[std::size_t(i)], 1); }
    In kth(Index k) const {
        Index at = 0, left = k;
        for (Index step = top_; step > 0; step /= 2)
            if (at + step < Index(tree_.size()) && tree_[std::size_t(at + step)] <= left)
                at += step, left -= tree_[std::size_t(at)];
        return values_[std::size_t(at)];
    }
    Index smaller(In, Index i) const {
        Index n = 0;
        for (Index at = rank_[std::size_t(i)]; at > 0; at -= at & -at) n += tree_[std::size_t(at)];
        return n;
    }
    Index equal(In, Index i) const { return count_[std::size_t(rank_[std::size_t(i)])]; }

  private:
    void add(Index rank, Index by) {
        n_ += by, count_[std::size_t(rank)] += by;
        for (Index at = rank + 1; at < Index(tree_.size()); at += at & -at) tree_[std::size_t(at)] += by;
    }
    std::vector<In> values_;
    std::vector<Index> rank_, tree_, count_;
    Index n_ = 0, top_ = 1;
};

struct Quantile {  // parameter: the quantile; linear between neighbours
    template <class Window, class In>
    static double value(const Window& held, In, Index, double q) {
        if (held.size() == 0) return NaN;
        const double place = q * double(held.size() - 1);
        const Index k = Index(place);
        const double low = double(held.kth(k));
        return k + 1 >= held.size() ? low : low + (double(held.kth(k + 1)) - low) * (place - double(k));
    }
};

struct Rank {  // share of the window at or below the current value; equals share their places
    template <class Window, class In>
    static double value(const Window& held, In x, Index i, double) {
        if (!seen(double(x))) return NaN;
        return (double(held.smaller(x, i)) + 0.5 * double(held.equal(x, i) + 1)) / double(held.size());
    }
};

template <class Stat, class Window, class In, class Out>
void order_in(Window& held, const In* x, Index rows, Index window, double parameter, Out* out) {
    for (Index i = 0; i < rows; ++i) {
        const Index old = i - window;
        const bool leaves = old >= 0 && seen(double(x[old])), enters = seen(double(x[i]));
        if (leaves && enters)
            held.replace(x[old], old, x[i], i);
        else if (leaves)
            held.erase(x[old], old);
        else if (enters)
            held.insert(x[i], i);
        out[i] = Out(Stat::value(held, x[i], i, parameter));
    }
}

template <class Stat, class In, class Out>
void order(const In* x, Index rows, Index, Index window, double parameter, Out* out) {
    constexpr Index LONG = 256;
    if (window == 0 || window > rows) window = rows;
    if (window > LONG) {
        CountTree<In> held(x, rows);
        order_in<Stat>(held, x, rows, window, parameter, out);
    } else {
        SortedWindow<In> held(window);
        order_in<Stat>(held, x, rows, window, parameter, out);
    }
}

// Short windows rank fastest by comparing with every value: no order is kept, and the compiler makes lanes of it.
template <class In, class Out>
void rank(const In* x, Index rows, Index first, Index window, double parameter, Out* out) {
    if (window == 0 || window > 96) return order<Rank>(x, rows, first, window, parameter, out);
    for (Index i = 0; i < rows; ++i) {
        const In now = x[i];
        const Index from = std::max(i - window + 1, Index(0));
        int smaller = 0, equal = 0, n = 0;
        for (Index k = from; k <= i; ++k) {
            smaller += x[k] < now && x[k] >= std::numeric_limits<In>::lowest();
            equal += x[k] == now;
            n += std::fabs(x[k]) <= std::numeric_limits<In>::max();
        }
        out[i] = Out(seen(double(now)) ? (double(smaller) + 0.5 * double(equal + 1)) / double(n) : NaN);
    }
}

}  // namespace qlib_kernels
