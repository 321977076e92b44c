// Vcpu: one virtual CPU: run it, look at it, make it come back. All calls but request_exit() belong to the
// thread that runs it, or to anybody while that one rests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/kvm_header.h"
#include "vmm/kvm/vm.h"

namespace vmm {

class Vcpu {
 public:
  // Throws Error when the host has no room for another vCPU.
  Vcpu(const Kvm& kvm, const Vm& vm, unsigned id);
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;
  ~Vcpu();

  unsigned id() const { return id_; }
  int fd() const { return fd_.get(); }

  // Enters the guest. 0 after an exit that state() describes, -errno otherwise: -EINTR and -EAGAIN mean that
  // it came back early.
  int run() const;
  kvm_run& state() const { return *run_; }
  // Makes the current or the next run() return at once. Any thread; a signal to the thread must follow.
  void request_exit() const;
  void clear_exit_request() const;

  kvm_regs regs() const;
  kvm_sregs sregs() const;
  // Where a linear address is, by the page tables and the mode that it is in.
  std::optional<GuestAddress> translate(uint64_t address) const;
  uint32_t mp_state() const;  // KVM_MP_STATE_*: whether it runs, is halted or was never started
  // Both throw Error when KVM refuses.
  void set_regs(const kvm_regs& regs) const;
  void set_sregs(const kvm_sregs& sregs) const;
  // KVM refuses what the host's CPU lacks: nothing, or false, then.
  std::optional<uint64_t> msr(uint32_t index) const;
  bool set_msr(uint32_t index, uint64_t value) const;
  void set_cpuid(const std::vector<kvm_cpuid_entry2>& entries) const;
  // All registers that matter for a report, a few lines.
  std::string describe() const;

 private:
  void set(unsigned long request, const void* registers) const;

  unsigned id_;
  UniqueFd fd_;
  size_t run_size_;
  kvm_run* run_ = nullptr;
};

}  // namespace vmm
