// The choice between the two engines; see io_engine.h.
#include "devices/backends/disk/io_engine.h"

#include "devices/backends/disk/io_uring.h"
#include "devices/backends/disk/thread_engine.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

std::unique_ptr<IoEngine> IoEngine::create(EventLoop& loop, Kind kind) {
  if (kind == Kind::kThreads) return std::make_unique<ThreadEngine>(loop);
  try {
    return std::make_unique<IoUring>(loop);
  } catch (const Error& error) {
    // A sysctl, a seccomp filter or an old kernel may forbid io_uring.
    if (kind == Kind::kIoUring) throw;
    log_warn("{}; disks use threads instead", error.what());
    return std::make_unique<ThreadEngine>(loop);
  }
}

}  // namespace vmm
