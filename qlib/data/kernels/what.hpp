// What can be read from a window.
#pragma once
namespace qlib_kernels {
enum What { COUNT, SUM, MEAN, VAR, STD, SKEW, KURT, SLOPE, RSQUARE, RESI, WMA, WMA_AGAIN, BEST, PLACE, COV, CORR, RANK, QUANTILE };
}
