// Kvm: the host's /dev/kvm, what it can do, and clear words for when it cannot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "vmm/core/fd.h"
#include "vmm/kvm/kvm_header.h"

namespace vmm {

// ioctl(2) on a KVM descriptor, repeated on EINTR. Returns what the kernel returned, or -errno.
int kvm_ioctl(int fd, unsigned long request, const void* argument);
int kvm_ioctl(int fd, unsigned long request, unsigned long argument = 0);

// What opens /dev/kvm to a user who may not, by its mode and group.
std::string fix_for_permission(unsigned mode, unsigned group);

class Kvm {
 public:
  // Opens /dev/kvm. Throws Error with the reason (missing, no permission, busy) and how to mend it.
  Kvm();

  int fd() const { return fd_.get(); }
  // KVM_CHECK_EXTENSION: 0 when absent.
  int capability(int number) const;
  unsigned max_vcpus() const;
  size_t run_size() const;  // bytes to map of a vCPU
  // True on a host whose KVM interprets guest kernels rather than running them (no hardware virtualization), where
  // stock kernels meet instructions that are not emulated.
  static bool emulates_kernel_code();

 private:
  UniqueFd fd_;
};

}  // namespace vmm
