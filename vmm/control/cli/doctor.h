// `vmm doctor`: can this host run virtual machines, and if not, what mends it.
#pragma once

namespace vmm {

// Prints a line for each thing that was looked at, with a shell line for each fix. 0 when machines can run, else 125.
int run_doctor();

}  // namespace vmm
