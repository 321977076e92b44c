// YIELD; see cpu_pause.h.
#include "vmm/core/cpu_pause.h"

namespace vmm {

void cpu_pause() { asm volatile("yield"); }

}  // namespace vmm
