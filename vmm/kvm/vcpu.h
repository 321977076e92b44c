// Vcpu: one virtual CPU: run it, look at it, make it come back. All calls but request_exit() belong to the
// thread that runs it, or to anybody while that one rests. Its registers are the architecture's: vmm/kvm/ARCH.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/core/fd.h"
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

  uint32_t mp_state() const;  // KVM_MP_STATE_*: whether it runs, is halted or was never started
  // All registers that matter for a report, a few lines.
  std::string describe() const;

 private:
  unsigned id_;
  UniqueFd fd_;
  size_t run_size_;
  kvm_run* run_ = nullptr;
};

}  // namespace vmm
