// The per-CPU ioctls; see vcpu.h.
#include "vmm/kvm/vcpu.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>

#include "vmm/core/error.h"

namespace vmm {

Vcpu::Vcpu(const Kvm& kvm, const Vm& vm, unsigned id) : id_(id), run_size_(kvm.run_size()) {
  const int fd = kvm_ioctl(vm.fd(), KVM_CREATE_VCPU, id);
  if (fd < 0)
    throw Error(fmt::format("KVM cannot create vCPU {}: {}", id, errno_text(-fd)), "ask for fewer with --cpus");
  fd_ = UniqueFd(fd);
  void* mapped = ::mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) throw Error(fmt::format("cannot map vCPU {}: {}", id, errno_text(errno)));
  run_ = static_cast<kvm_run*>(mapped);
}

Vcpu::~Vcpu() { ::munmap(run_, run_size_); }

int Vcpu::run() const { return ::ioctl(fd_.get(), KVM_RUN, 0) < 0 ? -errno : 0; }

void Vcpu::request_exit() const { std::atomic_ref(run_->immediate_exit).store(1); }
void Vcpu::clear_exit_request() const { std::atomic_ref(run_->immediate_exit).store(0); }

uint32_t Vcpu::mp_state() const {
  kvm_mp_state state{};
  kvm_ioctl(fd_.get(), KVM_GET_MP_STATE, &state);
  return state.mp_state;
}

}  // namespace vmm
