#define ISA v3
#include "isa.hpp"

namespace qlib_kernels {
Machine* make_v3(const Code& code, const char** wrong) { return v3::make(code, wrong); }
}  // namespace qlib_kernels
