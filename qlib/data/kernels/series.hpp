// Kernels that need no running window: recomputed at every row, recursive, or only moving rows.
#pragma once
#include "statistics.hpp"

namespace qlib_kernels {

// Mean absolute deviation around the mean: every value of the window is looked at, in lanes.
template <class In, class Out>
void mad(const In* x, Index rows, Index first, Index window, double, Out* out) {
    const std::size_t size = std::size_t(rows);
    std::vector<double> held(size), mark(size), mean(size);
    roll<Mean>(x, rows, first, window, 0.0, mean.data());
    for (Index i = 0; i < rows; ++i) {
        mark[std::size_t(i)] = seen(double(x[i])) ? 1.0 : 0.0;
        held[std::size_t(i)] = seen(double(x[i])) ? double(x[i]) : 0.0;
    }
    if (window == 0 || window > rows) window = rows;
    for (Index i = 0; i < rows; ++i) {
        const double *h = held.data(), *m = mark.data(), centre = mean[std::size_t(i)];
        double sum[4] = {0, 0, 0, 0}, n[4] = {0, 0, 0, 0};
        Index k = std::max(i - window + 1, Index(0));
        for (; k + 3 <= i; k += 4)
            for (Index lane = 0; lane < 4; ++lane) {
                sum[lane] += m[k + lane] * std::fabs(h[k + lane] - centre);
                n[lane] += m[k + lane];
            }
        for (; k <= i; ++k) sum[0] += m[k] * std::fabs(h[k] - centre), n[0] += m[k];
        out[i] = Out((sum[0] + sum[1] + sum[2] + sum[3]) / (n[0] + n[1] + n[2] + n[3]));
    }
}

// Exponentially weighted mean, weights (1 - alpha)^age over the values seen; a missing row ages the others.
template <class In, class Out>
void ema(const In* x, Index rows, Index, Index, double alpha, Out* out) {
    double mean = NaN, weight = 0;
    for (Index i = 0; i < rows; ++i) {
        const double now = double(x[i]);
        weight *= 1 - alpha;
        if (seen(now)) {
            weight += 1;
            mean = std::isnan(mean) ? now : mean + (now - mean) / weight;
        }
        out[i] = Out(mean);
    }
}

// The same over all m rows so far with alpha = 2 / (m + 1), which changes with every row.
// parameter 0: weights of the values seen; 1: Qlib's, where a missing value counts as 0.
template <class In, class Out>
void ema_expanding(const In* x, Index rows, Index, Index, double missing_is_zero, Out* out) {
    const std::size_t size = std::size_t(rows);
    std::vector<double> held(size), mark(size);
    bool any = false;
    for (Index i = 0; i < rows; ++i) {
        const bool counts = seen(double(x[i]));
        any = any || counts;
        held[std::size_t(i)] = counts ? double(x[i]) : 0.0;
        mark[std::size_t(i)] = counts || missing_is_zero != 0 ? 1.0 : 0.0;
        const double keep = 1 - 2.0 / double(i + 2), keep4 = keep * keep * keep * keep;
        double sum[4] = {0, 0, 0, 0}, weight[4] = {0, 0, 0, 0};  // lane 3 holds the newest row of every four
        Index k = 0;
        for (; (i + 1 - k) % 4 != 0; ++k) {
            sum[3] = sum[3] * keep + held[std::size_t(k)];
            weight[3] = weight[3] * keep + mark[std::size_t(k)];
        }
        for (; k <= i; k += 4)
            for (Index lane = 0; lane < 4; ++lane) {
                sum[lane] = sum[lane] * keep4 + held[std::size_t(k + lane)];
                weight[lane] = weight[lane] * keep4 + mark[std::size_t(k + lane)];
            }
        const double total = ((sum[0] * keep + sum[1]) * keep + sum[2]) * keep + sum[3];
        const double weights = ((weight[0] * keep + weight[1]) * keep + weight[2]) * keep + weight[3];
        out[i] = Out(any ? total / weights : NaN);
    }
}

// Value of the row `window` rows before (after, where negative); missing where there is no such row.
template <class In, class Out>
void shift(const In* x, Index rows, Index, Index window, double, Out* out) {
    const Index by = std::max(std::min(window, rows), -rows);
    for (Index i = 0; i < by; ++i) out[i] = Out(NaN);
    for (Index i = std::max(by, Index(0)); i < rows + std::min(by, Index(0)); ++i) out[i] = Out(x[i - by]);
    for (Index i = std::max(rows + by, Index(0)); i < rows; ++i)
        if (by < 0) out[i] = Out(NaN);
}

// The first row's value on every row.
template <class In, class Out>
void origin(const In* x, Index rows, Index, Index, double, Out* out) {
    for (Index i = 0; i < rows; ++i) out[i] = Out(x[0]);
}

}  // namespace qlib_kernels
