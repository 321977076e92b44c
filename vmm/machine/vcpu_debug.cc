// A debugger's orders to a vCPU, and what it stopped for; see vcpu_thread.h.
#include <mutex>
#include <optional>
#include <utility>

#include "vmm/machine/vcpu_thread.h"

namespace vmm {

void VcpuThread::obey(const DebugOrder& order) {
  const std::lock_guard lock(mutex_);
  if (order.debug != order_.debug) set_guest_debug(vcpu_, order.debug);
  order_ = order;
  debug_event_.reset();
  stays_ = order.held;
}

std::optional<DebugEvent> VcpuThread::take_debug_event() {
  const std::lock_guard lock(mutex_);
  return std::exchange(debug_event_, std::nullopt);
}

void VcpuThread::look_at_debug_event() {
  const DebugEvent event = debug_event(vcpu_, order_.debug);
  const bool only_stepped = event.stepped && event.points == 0;
  if (only_stepped && event.pc >= order_.range_start && event.pc < order_.range_end) return;
  report(event);
}

void VcpuThread::report(const DebugEvent& event) {
  {
    const std::lock_guard lock(mutex_);
    debug_event_ = event;
    stays_ = true;
  }
  world_.debugged();
}

}  // namespace vmm
