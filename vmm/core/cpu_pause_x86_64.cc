// PAUSE; see cpu_pause.h.
#include "vmm/core/cpu_pause.h"

namespace vmm {

void cpu_pause() { __builtin_ia32_pause(); }

}  // namespace vmm
