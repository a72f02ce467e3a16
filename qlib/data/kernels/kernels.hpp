// Every kernel by its name, and the loop over the instruments of a tile: what rolling.pyx calls.
#pragma once
#include <cstdint>
#include <cstring>

#include "order.hpp"
#include "series.hpp"
#include "statistics.hpp"

namespace qlib_kernels {

template <class In, class Out>
using Kernel = void (*)(const In*, Index, Index, Index, double, Out*);
template <class In, class Out>
using PairKernel = void (*)(const In*, const In*, Index, Index, Index, double, Out*);

template <class In, class Out>
Kernel<In, Out> find(const char* name) {
    struct Row {
        const char* name;
        Kernel<In, Out> kernel;
    };
    static const Row table[] = {
        {"count", roll<Count, In, Out>},
        {"count_infinite_too", roll_gaps<CountInfiniteToo, In, Out>},
        {"max", roll<Extreme<true>, In, Out>},
        {"min", roll<Extreme<false>, In, Out>},
        {"idxmax", roll<ExtremePlace<true>, In, Out>},
        {"idxmin", roll<ExtremePlace<false>, In, Out>},
        {"idxmax_gap_first", roll_gaps<ExtremePlaceOrGap<true>, In, Out>},
        {"idxmin_gap_first", roll_gaps<ExtremePlaceOrGap<false>, In, Out>},
        {"sum", roll<Sum, In, Out>},
        {"mean", roll<Mean, In, Out>},
        {"var", roll<Var, In, Out>},
        {"std", roll<Std, In, Out>},
        {"skew", roll<Skew, In, Out>},
        {"kurt", roll<Kurt, In, Out>},
        {"slope", roll<Slope, In, Out>},
        {"rsquare", roll<Rsquare, In, Out>},
        {"resi", roll<Resi, In, Out>},
        {"wma", roll<WeightedMean, In, Out>},
        {"quantile", order<Quantile, In, Out>},
        {"rank", rank<In, Out>},
        {"mad", mad<In, Out>},
        {"ema", ema<In, Out>},
        {"ema_expanding", ema_expanding<In, Out>},
        {"shift", shift<In, Out>},
        {"origin", origin<In, Out>},
    };
    for (const Row& row : table)
        if (std::strcmp(row.name, name) == 0) return row.kernel;
    return nullptr;
}

template <class In, class Out>
PairKernel<In, Out> find_pair(const char* name) {
    if (std::strcmp(name, "cov") == 0) return roll_pair<Cov, In, Out>;
    if (std::strcmp(name, "corr") == 0) return roll_pair<Corr, In, Out>;
    return nullptr;
}

template <class In, class Out>
bool run_typed(const char* name, const In* x, const In* y, const std::int64_t* start, const std::int64_t* first,
               Index instruments, Index window, double parameter, Out* out) {
    const Kernel<In, Out> one = y == nullptr ? find<In, Out>(name) : nullptr;
    const PairKernel<In, Out> two = y == nullptr ? nullptr : find_pair<In, Out>(name);
    if (one == nullptr && two == nullptr) return false;
    for (Index k = 0; k < instruments; ++k) {
        const Index at = Index(start[k]), rows = Index(start[k + 1] - start[k]), position = Index(first[k]);
        if (two != nullptr)
            two(x + at, y + at, rows, position, window, parameter, out + at);
        else
            one(x + at, rows, position, window, parameter, out + at);
    }
    return true;
}

// wide: float64, else float32.
inline bool run(const char* name, const void* x, const void* y, bool wide_in, const std::int64_t* start,
                const std::int64_t* first, Index instruments, Index window, double parameter, void* out,
                bool wide_out) {
    const auto typed = [&](auto in, auto result) {
        using In = decltype(in);
        using Out = decltype(result);
        return run_typed(name, static_cast<const In*>(x), static_cast<const In*>(y), start, first, instruments, window,
                         parameter, static_cast<Out*>(out));
    };
    if (wide_in) return wide_out ? typed(0.0, 0.0) : typed(0.0, 0.0F);
    return wide_out ? typed(0.0F, 0.0) : typed(0.0F, 0.0F);
}

}  // namespace qlib_kernels
