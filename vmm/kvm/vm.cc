// The machine-wide ioctls; see vm.h.
#include "vmm/kvm/vm.h"

#include <fmt/core.h>

#include <cerrno>

#include "vmm/core/error.h"

namespace vmm {

void require(int result, const char* what) {
  if (result >= 0) return;
  throw Error(fmt::format("KVM cannot {}: {}", what, errno_text(-result)), "see what this host lacks: vmm doctor");
}

Vm::Vm(const Kvm& kvm, const GuestMemory& memory) {
  const int fd = kvm_ioctl(kvm.fd(), KVM_CREATE_VM, type(kvm, memory));
  // KVM takes the CPU's virtualization with its first machine, not before.
  if (fd == -EBUSY) {
    throw Error("KVM cannot create a virtual machine: another hypervisor holds the CPU's virtualization",
                "stop the other one (VirtualBox, VMware) and try again");
  }
  require(fd, "create a virtual machine");
  fd_ = UniqueFd(fd);
  uint32_t slot = 0;
  for (const GuestMemory::Region& region : memory.regions()) {
    const kvm_userspace_memory_region mapping{.slot = slot++,
                                              .flags = 0,
                                              .guest_phys_addr = region.start.value,
                                              .memory_size = region.size,
                                              .userspace_addr = reinterpret_cast<uint64_t>(region.host)};
    const int result = kvm_ioctl(fd, KVM_SET_USER_MEMORY_REGION, &mapping);
    if (result < 0) {
      throw Error(fmt::format("KVM cannot map {} MiB of guest memory at {:#x}: {}", region.size >> 20,
                              region.start.value, errno_text(-result)),
                  "ask for less with --mem");
    }
  }
}

int Vm::ioeventfd(GuestAddress address, const EventFd& event, uint32_t flags) const {
  kvm_ioeventfd request{};
  request.addr = address.value;
  request.len = 0;  // any width
  request.fd = event.fd();
  request.flags = flags;
  return kvm_ioctl(fd_.get(), KVM_IOEVENTFD, &request);
}

bool Vm::add_doorbell(GuestAddress address, const EventFd& event) const { return ioeventfd(address, event, 0) >= 0; }

void Vm::remove_doorbell(GuestAddress address, const EventFd& event) const {
  ioeventfd(address, event, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

}  // namespace vmm
