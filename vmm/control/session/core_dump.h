// CoreDump: a vmcore on its way to the disk, by a thread of its own, while the machine stands still and the loop turns.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "vmm/blackbox/cpu_state.h"
#include "vmm/core/error.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// "F (open: drgn -c F -s vmlinux)": for a person. One that is compressed has to be unpacked for others.
std::string how_to_open(const std::string& path);

class CoreDump {
 public:
  // `on_end` is called once, on the loop, with what went wrong, or nothing; not after the destructor. `memory` outlives
  // it, and nobody runs in it meanwhile. Throws Error when the host has no thread left, or cannot write to `path`.
  CoreDump(EventLoop& loop, std::string path, const GuestMemory& memory, std::span<const CpuState> cpus,
           std::function<void(const std::optional<Error>&)> on_end);
  CoreDump(const CoreDump&) = delete;
  CoreDump& operator=(const CoreDump&) = delete;
  ~CoreDump();  // gives up, and leaves nothing behind

  const std::string& path() const { return path_; }
  void give_up() { give_up_ = true; }  // it ends soon, with an error

 private:
  void write(const GuestMemory& memory);

  EventLoop& loop_;
  const std::string path_;
  const std::vector<CpuState> cpus_;
  std::function<void(const std::optional<Error>&)> on_end_;
  std::atomic<bool> give_up_{false};
  // What is queued in the loop may outlive it.
  std::shared_ptr<CoreDump*> self_;
  std::thread thread_;
};

}  // namespace vmm
