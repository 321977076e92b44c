// `vmm console NAME`: this terminal, or what stands in for one, at a console of a running machine, beside whoever is
// there already. See devices/backends/char/char_visitors.h for the machine's side of it.
//
// On a terminal keys go to the guest as they are, and Ctrl-A with a letter does what `vmm VERB NAME` would; leaving
// leaves the machine running and the terminal as it was. A pipe's end ends the typing alone. It is over when the
// machine is, when the person leaves, or with a signal.
#pragma once

#include "vmm/control/socket/control_client.h"

namespace vmm {

// Returns the exit status. Throws Error when there is no such machine or console.
int visit_console(const ControlRequest& request);

}  // namespace vmm
