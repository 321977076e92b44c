// The report of a failed CHECK; see check.h.
#include "vmm/core/check.h"

#include <cstdio>
#include <cstdlib>

namespace vmm {

void check_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "vmm: internal error: CHECK(%s) failed at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace vmm
