// The loop around KVM_RUN; see vcpu_thread.h. What belongs to one architecture is in vcpu_ARCH.cc.
#include "vmm/machine/vcpu_thread.h"

#include <fmt/core.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <exception>
#include <span>
#include <string_view>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/trace.h"

namespace vmm {

namespace {

// Interrupts KVM_RUN; its handler does nothing.
int kick_signal() {
  static const int signal = [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGRTMIN, &action, nullptr);
    return SIGRTMIN;
  }();
  return signal;
}

}  // namespace

VcpuThread::VcpuThread(const Kvm& kvm, const Vm& vm, unsigned id, const World& world)
    : world_(world), vcpu_(kvm, vm, id) {
  if (world.traced_events > 0) trace_ = std::make_unique<ExitTrace>(world.traced_events);
  if (trace_ || traced(TraceArea::kKvm)) share_registers(kvm);
}

VcpuThread::~VcpuThread() {
  request_stop();
  join();
}

void VcpuThread::start() {
  kick_signal();
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    throw Error(fmt::format("cannot start the thread of vCPU {}: {}", vcpu_.id(), errno_text(error.code().value())),
                "raise ulimit -u, or ask for fewer with --cpus");
  }
}

void VcpuThread::join() {
  if (thread_.joinable()) thread_.join();
}

void VcpuThread::command(Command wanted) {
  const std::lock_guard lock(mutex_);
  if (wanted_ != Command::kStop) wanted_ = wanted;
  changed_.notify_all();
  // The request stays until the thread has seen it, so a signal that comes just before KVM_RUN is not lost.
  vcpu_.request_exit();
  if (running_) ::pthread_kill(*running_, kick_signal());
}

bool VcpuThread::wait_for_command() {
  std::unique_lock lock(mutex_);
  at_rest_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return wanted_ == Command::kStop || may_run(); });
  at_rest_ = false;
  return wanted_ == Command::kRun;
}

void VcpuThread::wait_at_rest() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return at_rest_; });
}

std::chrono::nanoseconds VcpuThread::cpu_time() const {
  clockid_t clock = 0;
  timespec spent{};
  const std::lock_guard lock(mutex_);
  if (!running_ || ::pthread_getcpuclockid(*running_, &clock) != 0 || ::clock_gettime(clock, &spent) < 0) return {};
  return std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

void VcpuThread::run() {
  const auto set_running = [this](std::optional<pthread_t> thread) {
    const std::lock_guard lock(mutex_);
    running_ = thread;
    at_rest_ = !thread;
    changed_.notify_all();
  };
  ::pthread_setname_np(::pthread_self(), fmt::format("vcpu{}", vcpu_.id()).c_str());
  set_running(::pthread_self());
  if (trace_) trace_->begin();
  try {
    run_until_stopped();
  } catch (const std::exception& error) {
    fail({Outcome::Kind::kHostTrouble, exit_code::kHostTrouble,
          fmt::format("the host failed vCPU {}: {}", vcpu_.id(), error.what())});
  }
  set_running(std::nullopt);
}

void VcpuThread::run_until_stopped() {
  for (;;) {
    if (!may_run()) {
      // A device access that has been answered is completed by the next KVM_RUN: do that first, without running the
      // guest, so that a paused machine is at a boundary between instructions. An access in parts has its next exit
      // then.
      vcpu_.request_exit();
      if (vcpu_.run() == 0) {
        if (!handle_exit()) return;
        continue;
      }
      if (!wait_for_command()) return;
    }
    vcpu_.clear_exit_request();
    if (!may_run()) continue;
    const int result = vcpu_.run();
    if (result == -EINTR || result == -EAGAIN) continue;
    exits_.store(exits_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (result < 0) {
      fail({Outcome::Kind::kKvmError, exit_code::kKvmError,
            fmt::format("KVM cannot run vCPU {}: {}", vcpu_.id(), errno_text(-result)), vcpu_.describe()});
      return;
    }
    if (!handle_exit()) return;
  }
}

bool VcpuThread::fail(Outcome outcome) {
  world_.end(std::move(outcome));
  return false;
}

bool VcpuThread::handle_exit() {
  if (traced(TraceArea::kKvm)) trace_exit();
  if (!trace_) return answer_exit();
  const uint64_t began = ExitTrace::now();
  const kvm_run& state = vcpu_.state();
  ExitTrace::Key key{.reason = state.exit_reason, .rip = shared_pc()};
  const bool goes_on = answer_exit();
  if (key.reason == KVM_EXIT_IO || key.reason == KVM_EXIT_MMIO) {
    const Access& access = accesses_[(access_count_ - 1) % accesses_.size()];
    key.write = access.write;
    key.device = access.device;
    if (key.device == nullptr) key.address = access.address;
  }
  trace_->record(key, began, ExitTrace::now());
  return goes_on;
}

bool VcpuThread::answer_exit() {
  const kvm_run& state = vcpu_.state();
  switch (state.exit_reason) {
    case KVM_EXIT_MMIO:
      memory_access();
      return true;
    case KVM_EXIT_INTR:
      return true;
    case KVM_EXIT_DEBUG:
      look_at_debug_event();
      return true;
    case KVM_EXIT_FAIL_ENTRY:
      return fail({Outcome::Kind::kKvmError, exit_code::kKvmError,
                   fmt::format("the CPU refused to enter the guest on vCPU {} (reason {:#x})", vcpu_.id(),
                               state.fail_entry.hardware_entry_failure_reason),
                   vcpu_.describe()});
    default:
      return answer_own_exit();
  }
}

Outcome VcpuThread::unknown_exit() const {
  return {Outcome::Kind::kKvmError, exit_code::kKvmError,
          fmt::format("vCPU {} left the guest for a reason this monitor does not know ({})", vcpu_.id(),
                      vcpu_.state().exit_reason),
          vcpu_.describe()};
}

void VcpuThread::memory_access() {
  kvm_run& state = vcpu_.state();
  Access& access = accesses_[access_count_++ % accesses_.size()];
  access = {false, state.mmio.is_write != 0, state.mmio.phys_addr};
  const size_t length = std::min<size_t>(state.mmio.len, sizeof state.mmio.data);
  const auto value = std::as_writable_bytes(std::span(state.mmio.data)).first(length);
  const bool write = state.mmio.is_write != 0;
  const uint64_t address = state.mmio.phys_addr;
  access.device = write ? world_.memory_bus.write(address, value) : world_.memory_bus.read(address, value);
  if (traced(TraceArea::kMmio)) trace_access(access, value);
  if (access.device == nullptr)
    guest_debug(strays_, "nothing is at address {:#x}, which the guest {}", address, verb(write));
}

void VcpuThread::trace_exit() const {
  const kvm_run& state = vcpu_.state();
  const bool write =
      state.exit_reason == KVM_EXIT_IO ? state.io.direction == KVM_EXIT_IO_OUT : state.mmio.is_write != 0;
  const uint64_t pc = shared_pc();
  vmm::trace(TraceArea::kKvm, "vCPU {}: {}{}", vcpu_.id(), exit_name(state.exit_reason, write),
             pc == 0 ? "" : fmt::format(" at {:#x}", pc));
}

// The value has two digits for each byte, so that its width is told too.
void VcpuThread::trace_access(const Access& access, std::span<const std::byte> value) const {
  std::string digits;
  for (const std::byte byte : value) digits.insert(0, fmt::format("{:02x}", std::to_integer<unsigned>(byte)));
  vmm::trace(access.port ? TraceArea::kPio : TraceArea::kMmio, "vCPU {}: {} {:#x} 0x{}: {}", vcpu_.id(), access.verb(),
             access.address, digits, access.device == nullptr ? "nothing is there" : world_.device_name(access.device));
}

// "out 0x70, in 0x71, write 0xc0003000": the oldest first.
std::string VcpuThread::last_exits() const {
  std::string text;
  const uint64_t count = std::min<uint64_t>(access_count_, accesses_.size());
  for (uint64_t number = access_count_ - count; number < access_count_; ++number) {
    const Access& access = accesses_[number % accesses_.size()];
    text += fmt::format("{}{} {:#x}", text.empty() ? "" : ", ", access.verb(), access.address);
  }
  return text.empty() ? "none" : text;
}

}  // namespace vmm
