// The instruction by which a loop that waits tells its CPU that it does: it saves power, and leaves a core's other
// thread more of it. One file for each architecture: cpu_pause_ARCH.cc.
#pragma once

namespace vmm {

void cpu_pause();

}  // namespace vmm
