// The per-CPU ioctls; see vcpu.h.
#include "vmm/kvm/vcpu.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

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

kvm_regs Vcpu::regs() const {
  kvm_regs regs{};
  kvm_ioctl(fd_.get(), KVM_GET_REGS, &regs);
  return regs;
}

kvm_sregs Vcpu::sregs() const {
  kvm_sregs sregs{};
  kvm_ioctl(fd_.get(), KVM_GET_SREGS, &sregs);
  return sregs;
}

std::optional<GuestAddress> Vcpu::translate(uint64_t address) const {
  kvm_translation where{};
  where.linear_address = address;
  if (kvm_ioctl(fd_.get(), KVM_TRANSLATE, &where) < 0 || where.valid == 0) return std::nullopt;
  return GuestAddress{where.physical_address};
}

uint32_t Vcpu::mp_state() const {
  kvm_mp_state state{};
  kvm_ioctl(fd_.get(), KVM_GET_MP_STATE, &state);
  return state.mp_state;
}

void Vcpu::set_regs(const kvm_regs& regs) const { set(KVM_SET_REGS, &regs); }
void Vcpu::set_sregs(const kvm_sregs& sregs) const { set(KVM_SET_SREGS, &sregs); }

void Vcpu::set(unsigned long request, const void* registers) const {
  if (const int result = kvm_ioctl(fd_.get(), request, registers); result < 0) {
    throw Error(fmt::format("KVM refuses the registers of vCPU {}: {}", id_, errno_text(-result)),
                "see what it says: dmesg | grep -i kvm");
  }
}

std::optional<uint64_t> Vcpu::msr(uint32_t index) const {
  alignas(kvm_msrs) std::byte buffer[sizeof(kvm_msrs) + sizeof(kvm_msr_entry)]{};
  auto* list = reinterpret_cast<kvm_msrs*>(buffer);
  list->nmsrs = 1;
  list->entries[0].index = index;
  return kvm_ioctl(fd_.get(), KVM_GET_MSRS, list) == 1 ? std::optional<uint64_t>(list->entries[0].data) : std::nullopt;
}

bool Vcpu::set_msr(uint32_t index, uint64_t value) const {
  alignas(kvm_msrs) std::byte buffer[sizeof(kvm_msrs) + sizeof(kvm_msr_entry)]{};
  auto* list = reinterpret_cast<kvm_msrs*>(buffer);
  list->nmsrs = 1;
  list->entries[0] = {.index = index, .reserved = 0, .data = value};
  return kvm_ioctl(fd_.get(), KVM_SET_MSRS, list) == 1;
}

void Vcpu::set_cpuid(const std::vector<kvm_cpuid_entry2>& entries) const {
  std::vector<uint64_t> buffer((sizeof(kvm_cpuid2) + entries.size() * sizeof(kvm_cpuid_entry2)) / sizeof(uint64_t) + 1);
  auto* list = reinterpret_cast<kvm_cpuid2*>(buffer.data());
  list->nent = static_cast<uint32_t>(entries.size());
  std::ranges::copy(entries, list->entries);
  if (const int result = kvm_ioctl(fd_.get(), KVM_SET_CPUID2, list); result < 0) {
    throw Error(fmt::format("KVM refuses the CPU features of vCPU {}: {}", id_, errno_text(-result)),
                "try --cpu baseline");
  }
}

std::string Vcpu::describe() const {
  const kvm_regs r = regs();
  const kvm_sregs s = sregs();
  return fmt::format(
      "rip {:016x} rsp {:016x} rflags {:08x} cs {:04x} (base {:x})\n"
      "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n"
      "rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}\n"
      "r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}\n"
      "r13 {:016x} r14 {:016x} r15 {:016x}\n"
      "cr0 {:08x} cr2 {:016x} cr3 {:016x} cr4 {:08x} efer {:04x}",
      r.rip, r.rsp, r.rflags, s.cs.selector, s.cs.base, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9,
      r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

}  // namespace vmm
