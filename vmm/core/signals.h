// Signals as this program has them: what it needs whatever its parent left, and those that it hears through a
// descriptor (signalfd(2)).
#pragma once

#include <initializer_list>

#include "vmm/core/fd.h"

namespace vmm {

// Ignored dispositions and blocked signals survive exec(2). Takes back those on which the program depends: children are
// reaped (SIGCHLD), and threads are interrupted by real-time signals. For main(), before any thread is started.
void reset_inherited_signals();

// Signalfd, non-blocking, of these signals; they are blocked in the calling thread and those that it starts. A signal
// that was ignored when the program started (nohup(1), or & in a script) stays ignored and is not among them. Throws
// Error.
UniqueFd open_signals(std::initializer_list<int> wanted);

}  // namespace vmm
