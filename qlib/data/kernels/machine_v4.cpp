#define ISA v4
#include "isa.hpp"

namespace qlib_kernels {
Machine* make_v4(const Code& code, const char** wrong) { return v4::make(code, wrong); }
}  // namespace qlib_kernels
