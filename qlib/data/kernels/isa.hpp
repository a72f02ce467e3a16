// All code that runs on lanes, in the namespace ISA; each machine_*.cpp compiles it for one instruction set.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "common.hpp"
#include "sorted.hpp"
#include "what.hpp"

namespace qlib_kernels {
namespace ISA {
#include "lanes.hpp"
#include "machine.hpp"
#include "window.hpp"
#include "statistics.hpp"
#include "order.hpp"
#include "series.hpp"
#include "elementwise.hpp"
#include "flow.hpp"
#include "store.hpp"
#include "program.hpp"
}  // namespace ISA
}  // namespace qlib_kernels
