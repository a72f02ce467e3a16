#define ISA baseline
#include "isa.hpp"

namespace qlib_kernels {
Machine* make_baseline(const Code& code, const char** wrong) { return baseline::make(code, wrong); }
}  // namespace qlib_kernels
