// VcpuThread: the thread that runs one vCPU, and what happens at each exit: an access to a device goes to the bus,
// anything that ends the machine is reported.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "devices/bus.h"
#include "vmm/blackbox/cpu_state.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/log.h"
#include "vmm/kvm/guest_debug.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/machine/exit_trace.h"
#include "vmm/machine/hang_watch.h"
#include "vmm/machine/outcome.h"

namespace vmm {

class VcpuThread {
 public:
  struct World {
    Bus& ports;
    Bus& memory_bus;
    const GuestMemory& memory;
    std::function<void(Outcome)> end;                       // any thread; the vCPU does not run again after it
    std::function<void()> debugged;                         // any thread; the vCPU waits with a debug event
    std::function<std::string(const Device*)> device_name;  // any thread
    size_t traced_events = 0;  // how many of its last exits each vCPU keeps one by one; none: nothing is traced
  };

  // What a debugger wants of a vCPU when the machine runs.
  struct DebugOrder {
    GuestDebug debug;
    bool held = false;  // it stays where it is
    // Steps that end in here are not reported, but followed by the next.
    uint64_t range_start = 0, range_end = 0;
  };

  VcpuThread(const Kvm& kvm, const Vm& vm, unsigned id, const World& world);
  ~VcpuThread();  // stops and joins

  const Vcpu& vcpu() const { return vcpu_; }
  // Between exits the vCPU can be paused and resumed; it begins paused. Any thread; returns without waiting.
  void start();
  void pause() { command(Command::kPause); }
  void resume() { command(Command::kRun); }
  void request_stop() { command(Command::kStop); }  // for good
  void join();                                      // waits for the thread after that
  // After a command to pause or stop: waits until the thread does not touch the guest any more.
  void wait_at_rest();
  CpuState cpu_state() const;        // at rest
  HangWatch::Sample sample() const;  // at rest

  // A debugger's orders and events; at rest. An event that nobody took keeps the vCPU from running, whatever it is
  // commanded, until the next order.
  void obey(const DebugOrder& order);
  const DebugOrder& debug_order() const { return order_; }
  std::optional<DebugEvent> take_debug_event();

  const ExitTrace* trace() const { return trace_.get(); }  // at rest; null: there is none

  uint64_t exits() const { return exits_.load(std::memory_order_relaxed); }

 private:
  enum class Command { kRun, kPause, kStop };

  void command(Command wanted);
  void run();
  void run_until_stopped();
  bool may_run() const { return wanted_ == Command::kRun && !stays_; }
  bool wait_for_command();
  bool handle_exit();  // false: this vCPU is done
  bool answer_exit();  // the same, untraced
  void memory_access();
  bool fail(Outcome outcome);
  Outcome unknown_exit() const;
  std::string last_exits() const;
  std::chrono::nanoseconds cpu_time() const;
  static constexpr std::string_view verb(bool write) { return write ? "writes" : "reads"; }
  void trace_exit() const;

  // In vcpu_ARCH.cc, as are cpu_state() and sample().
  bool answer_own_exit();  // one that only this architecture has
  void share_registers(const Kvm& kvm);
  uint64_t shared_pc() const;  // after an exit, once they are shared; 0: not known
  void port_access();          // x86's, like the next three
  Outcome triple_fault() const;
  Outcome internal_error();
  std::string instruction_bytes() const;

  // In vcpu_debug.cc, as is all that a debugger wants.
  void look_at_debug_event();
  void report(const DebugEvent& event);

  World world_;
  Vcpu vcpu_;
  std::atomic<Command> wanted_{Command::kPause};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool at_rest_ = true;               // under mutex_
  std::optional<pthread_t> running_;  // the thread while it is in run(); under mutex_: once joined it has no handle
  std::atomic<uint64_t> exits_{0};
  DebugOrder order_;                       // changed at rest
  std::optional<DebugEvent> debug_event_;  // written by the thread; read by others at rest
  std::atomic<bool> stays_{false};         // order_ or debug_event_ keeps the vCPU from running
  // The last device accesses, for the report of a guest that died: the slot of number n is n % size.
  struct Access {
    bool port;
    bool write;
    uint64_t address;
    const Device* device = nullptr;  // device that answered

    std::string_view verb() const { return port ? (write ? "out" : "in") : (write ? "write" : "read"); }
  };
  void trace_access(const Access& access, std::span<const std::byte> value) const;
  std::array<Access, 8> accesses_{};
  uint64_t access_count_ = 0;
  std::unique_ptr<ExitTrace> trace_;
  LogLimit strays_;  // accesses that no device answers
  std::thread thread_;
};

}  // namespace vmm
