// The values of a long window in order.
#pragma once
#include "common.hpp"

namespace qlib_kernels {

class Sorted {
  public:
    virtual ~Sorted() {}
    virtual Index size() const = 0;
    virtual void insert(double x) = 0;
    virtual void erase(double x) = 0;  // must be there
    virtual double kth(Index k) const = 0;
    virtual void place(double x, Index& smaller, Index& equal) const = 0;  // how many are smaller than x, and how many equal it
};

Sorted* make_sorted();

}  // namespace qlib_kernels
