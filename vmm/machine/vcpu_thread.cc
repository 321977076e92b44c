// The loop around KVM_RUN; see vcpu_thread.h.
#include "vmm/machine/vcpu_thread.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <span>
#include <string_view>
#include <utility>

#include "vmm/core/error.h"

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

std::string_view suberror_name(uint32_t suberror) {
  switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
      return "an instruction that KVM does not emulate";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
      return "an exception while delivering another";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
      return "an exit while delivering an event";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
      return "an exit it did not expect";
    default:
      return "an unknown suberror";
  }
}

CpuState::Activity activity_of(uint32_t mp_state) {
  switch (mp_state) {
    case KVM_MP_STATE_HALTED:
      return CpuState::Activity::kHalted;
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED:
      return CpuState::Activity::kNotStarted;
    default:
      return CpuState::Activity::kRunning;
  }
}

CpuState::Segment segment_of(const kvm_segment& segment) {
  const auto bit = [](unsigned value, unsigned place) { return static_cast<uint32_t>(value) << place; };
  return {.selector = segment.selector,
          .limit = segment.limit,
          .flags = bit(segment.g, 23) | bit(segment.db, 22) | bit(segment.l, 21) | bit(segment.avl, 20) |
                   bit(segment.present, 15) | bit(segment.dpl, 13) | bit(segment.s, 12) | bit(segment.type, 8),
          .base = segment.base};
}

constexpr std::string_view verb(bool write) { return write ? "writes" : "reads"; }

std::string_view cpu_mode(const kvm_sregs& sregs) {
  constexpr uint64_t kProtectedMode = 1;
  constexpr uint64_t kLongModeActive = 1 << 10;
  if ((sregs.cr0 & kProtectedMode) == 0) return "real mode";
  return (sregs.efer & kLongModeActive) != 0 ? "long mode" : "protected mode, not in long mode yet";
}

}  // namespace

VcpuThread::VcpuThread(const Kvm& kvm, const Vm& vm, unsigned id, const World& world)
    : world_(world), vcpu_(kvm, vm, id) {
  if (world.traced_events == 0) return;
  trace_ = std::make_unique<ExitTrace>(world.traced_events);
  // KVM leaves the registers in the shared page at each exit, so that asking where the guest was costs no ioctl.
  vcpu_.state().kvm_valid_regs = static_cast<uint64_t>(kvm.capability(KVM_CAP_SYNC_REGS)) & uint64_t{KVM_SYNC_X86_REGS};
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

CpuState VcpuThread::cpu_state() const {
  constexpr uint32_t kKernelGsBase = 0xc0000102;  // MSR_KERNEL_GS_BASE
  const kvm_regs regs = vcpu_.regs();
  const kvm_sregs sregs = vcpu_.sregs();
  CpuState state;
  state.id = vcpu_.id();
  state.activity = activity_of(vcpu_.mp_state());
  state.privilege = sregs.ss.dpl;
  state.rip = regs.rip;
  state.rflags = regs.rflags;
  state.rax = regs.rax;
  state.rbx = regs.rbx;
  state.rcx = regs.rcx;
  state.rdx = regs.rdx;
  state.rsi = regs.rsi;
  state.rdi = regs.rdi;
  state.rbp = regs.rbp;
  state.rsp = regs.rsp;
  state.r8 = regs.r8;
  state.r9 = regs.r9;
  state.r10 = regs.r10;
  state.r11 = regs.r11;
  state.r12 = regs.r12;
  state.r13 = regs.r13;
  state.r14 = regs.r14;
  state.r15 = regs.r15;
  state.cs = segment_of(sregs.cs);
  state.ds = segment_of(sregs.ds);
  state.es = segment_of(sregs.es);
  state.fs = segment_of(sregs.fs);
  state.gs = segment_of(sregs.gs);
  state.ss = segment_of(sregs.ss);
  state.ldt = segment_of(sregs.ldt);
  state.tr = segment_of(sregs.tr);
  state.gdt = {.limit = sregs.gdt.limit, .base = sregs.gdt.base};
  state.idt = {.limit = sregs.idt.limit, .base = sregs.idt.base};
  state.kernel_gs_base = vcpu_.msr(kKernelGsBase).value_or(0);
  state.cr0 = sregs.cr0;
  state.cr2 = sregs.cr2;
  state.cr3 = sregs.cr3;
  state.cr4 = sregs.cr4;
  state.efer = sregs.efer;
  return state;
}

HangWatch::Sample VcpuThread::sample() const {
  constexpr uint64_t kInterruptFlag = 1 << 9;
  const kvm_regs regs = vcpu_.regs();
  const std::string_view bytes(reinterpret_cast<const char*>(&regs), sizeof regs);
  return {.id = vcpu_.id(),
          .activity = activity_of(vcpu_.mp_state()),
          .interrupts_on = (regs.rflags & kInterruptFlag) != 0,
          .registers = std::hash<std::string_view>()(bytes),
          .exits = exits(),
          .cpu_time = cpu_time()};
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
  run_until_stopped();
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
  if (!trace_) return answer_exit();
  const uint64_t began = ExitTrace::now();
  const kvm_run& state = vcpu_.state();
  ExitTrace::Key key{.reason = state.exit_reason, .rip = state.s.regs.regs.rip};
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
    case KVM_EXIT_IO:
      port_access();
      return true;
    case KVM_EXIT_MMIO:
      memory_access();
      return true;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return true;
    case KVM_EXIT_DEBUG:
      look_at_debug_event();
      return true;
    case KVM_EXIT_X86_WRMSR:
      if (write_watched_msr(vcpu_)) report({.kernel_entered = true});
      return true;
    case KVM_EXIT_SHUTDOWN:
      return fail(triple_fault());
    case KVM_EXIT_FAIL_ENTRY:
      return fail({Outcome::Kind::kKvmError, exit_code::kKvmError,
                   fmt::format("the CPU refused to enter the guest on vCPU {} (reason {:#x})", vcpu_.id(),
                               state.fail_entry.hardware_entry_failure_reason),
                   vcpu_.describe()});
    case KVM_EXIT_INTERNAL_ERROR:
      return fail(internal_error());
    default:
      return fail({Outcome::Kind::kKvmError, exit_code::kKvmError,
                   fmt::format("vCPU {} left the guest for a reason this monitor does not know ({})", vcpu_.id(),
                               state.exit_reason),
                   vcpu_.describe()});
  }
}

void VcpuThread::port_access() {
  kvm_run& state = vcpu_.state();
  Access& access = accesses_[access_count_++ % accesses_.size()];
  access = {true, state.io.direction == KVM_EXIT_IO_OUT, state.io.port};
  auto* data = reinterpret_cast<std::byte*>(&state) + state.io.data_offset;
  for (uint32_t i = 0; i < state.io.count; ++i, data += state.io.size) {
    const std::span<std::byte> value(data, state.io.size);
    const bool write = state.io.direction == KVM_EXIT_IO_OUT;
    access.device = write ? world_.ports.write(state.io.port, value) : world_.ports.read(state.io.port, value);
    if (access.device == nullptr) {
      guest_debug(strays_, "nothing is at port {:#x}, which the guest {}", state.io.port, verb(write));
    }
  }
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
  if (access.device == nullptr)
    guest_debug(strays_, "nothing is at address {:#x}, which the guest {}", address, verb(write));
}

void VcpuThread::look_at_debug_event() {
  const DebugEvent event = debug_event(vcpu_);
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

// The instruction at RIP: what KVM stored with the exit, else what the guest's page tables lead to.
std::string VcpuThread::instruction_bytes() const {
  const kvm_run& state = vcpu_.state();
  const auto& failure = state.emulation_failure;
  std::string text;
  if (failure.ndata >= 3 && (failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0) {
    const size_t size = std::min<size_t>(failure.insn_size, sizeof failure.insn_bytes);
    for (size_t i = 0; i < size; ++i) text += fmt::format(" {:02x}", failure.insn_bytes[i]);
    return text;
  }
  const auto where = vcpu_.translate(vcpu_.sregs().cs.base + vcpu_.regs().rip);
  if (!where) return " (not readable)";
  for (uint64_t i = 0; i < 15; ++i) {
    const auto byte = world_.memory.read<uint8_t>(GuestAddress{where->value + i});
    if (!byte) break;
    text += fmt::format(" {:02x}", *byte);
  }
  return text;
}

// "out 0x70, in 0x71, write 0xc0003000": the oldest first.
std::string VcpuThread::last_exits() const {
  std::string text;
  const uint64_t count = std::min<uint64_t>(access_count_, accesses_.size());
  for (uint64_t number = access_count_ - count; number < access_count_; ++number) {
    const Access& access = accesses_[number % accesses_.size()];
    const std::string_view verb = access.port ? (access.write ? "out" : "in") : (access.write ? "write" : "read");
    text += fmt::format("{}{} {:#x}", text.empty() ? "" : ", ", verb, access.address);
  }
  return text.empty() ? "none" : text;
}

Outcome VcpuThread::triple_fault() const {
  const kvm_sregs sregs = vcpu_.sregs();
  const kvm_regs regs = vcpu_.regs();
  const std::string exits = "last exits: " + last_exits();
  // On AMD, KVM resets the vCPU before it says that it shut down (shutdown_interception() in arch/x86/kvm/svm/svm.c).
  constexpr uint64_t kResetBase = 0xffff0000, kResetVector = 0xfff0;
  if (sregs.cs.base == kResetBase && regs.rip == kResetVector) {
    return {Outcome::Kind::kTripleFault, exit_code::kTripleFault,
            fmt::format("triple fault on vCPU {} (where is lost: on AMD, KVM resets the registers first)", vcpu_.id()),
            exits};
  }
  return {Outcome::Kind::kTripleFault, exit_code::kTripleFault,
          fmt::format("triple fault on vCPU {} at RIP {:#x} ({}), CR0 {:#x} CR2 {:#x}", vcpu_.id(), regs.rip,
                      cpu_mode(sregs), sregs.cr0, sregs.cr2),
          vcpu_.describe() + "\n" + exits};
}

Outcome VcpuThread::internal_error() {
  const uint32_t suberror = vcpu_.state().internal.suberror;
  Outcome outcome{Outcome::Kind::kKvmError, exit_code::kKvmError,
                  fmt::format("KVM internal error on vCPU {}: {} ({}) at RIP {:#x}", vcpu_.id(),
                              suberror_name(suberror), suberror, vcpu_.regs().rip),
                  vcpu_.describe() + "\ninstruction bytes:" + instruction_bytes() + "\nlast exits: " + last_exits()};
  if (Kvm::emulates_kernel_code()) {
    outcome.details +=
        "\nthis host's KVM only emulates kernel code (no svm or vmx in /proc/cpuinfo): stock kernels do not run here"
        "\n  fix: run it in the lab: tools/lab -- vmm ...";
  }
  return outcome;
}

}  // namespace vmm
