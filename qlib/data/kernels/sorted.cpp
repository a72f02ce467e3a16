// Short sorted pieces, one after the other:
//
//     | 1 2 2 5 | 7 8 | 9 9 11 |      insert, erase: one piece is moved; k-th, smaller than: lengths of pieces are added
//
// Compiled once, for any machine: what the standard library makes of it must not come from newer instruction sets.
#include "sorted.hpp"

#include <algorithm>
#include <vector>

namespace qlib_kernels {
namespace {

class Pieces : public Sorted {
  public:
    Index size() const override { return n_; }

    void insert(double x) override {
        if (pieces_.empty()) pieces_.emplace_back();
        const std::size_t p = piece_of(x);
        std::vector<double>& piece = pieces_[p];
        piece.insert(std::lower_bound(piece.begin(), piece.end(), x), x);
        ++n_;
        if (piece.size() > MOST) {
            std::vector<double> half(piece.begin() + MOST / 2, piece.end());
            piece.resize(MOST / 2);
            pieces_.insert(pieces_.begin() + std::ptrdiff_t(p) + 1, std::move(half));
        }
    }

    void erase(double x) override {
        const std::size_t p = piece_of(x);
        std::vector<double>& piece = pieces_[p];
        piece.erase(std::lower_bound(piece.begin(), piece.end(), x));
        --n_;
        if (piece.empty()) pieces_.erase(pieces_.begin() + std::ptrdiff_t(p));
    }

    double kth(Index k) const override {
        for (const std::vector<double>& piece : pieces_) {
            if (k < Index(piece.size())) return piece[std::size_t(k)];
            k -= Index(piece.size());
        }
        return 0;
    }

    void place(double x, Index& smaller, Index& equal) const override {
        smaller = equal = 0;
        for (const std::vector<double>& piece : pieces_) {
            if (piece.back() < x) {
                smaller += Index(piece.size());
            } else if (piece.front() > x) {
                break;
            } else {
                const auto both = std::equal_range(piece.begin(), piece.end(), x);
                smaller += both.first - piece.begin(), equal += both.second - both.first;
            }
        }
    }

  private:
    static constexpr std::size_t MOST = 512;
    // The first piece that may hold x, or the last one.
    std::size_t piece_of(double x) const {
        std::size_t low = 0, high = pieces_.size() - 1;
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (pieces_[middle].back() < x)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }
    std::vector<std::vector<double>> pieces_;
    Index n_ = 0;
};

}  // namespace

Sorted* make_sorted() { return new Pieces; }

}  // namespace qlib_kernels
