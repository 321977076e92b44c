// Opening and asking /dev/kvm; see kvm.h.
#include "vmm/kvm/kvm.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "vmm/core/error.h"
#include "vmm/kvm/host_cpu.h"

namespace vmm {

int kvm_ioctl(int fd, unsigned long request, unsigned long argument) {
  for (;;) {
    const int result = ::ioctl(fd, request, argument);
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

int kvm_ioctl(int fd, unsigned long request, const void* argument) {
  return kvm_ioctl(fd, request, reinterpret_cast<unsigned long>(argument));
}

namespace {

[[noreturn]] void refuse(int error) {
  switch (error) {
    case ENOENT:
      throw no_kvm();
    case EACCES:
    case EPERM: {
      struct stat info {};
      ::stat("/dev/kvm", &info);
      throw Error(fmt::format("cannot open /dev/kvm: Permission denied (mode {:04o}, group {}; you are uid {}, gid {})",
                              info.st_mode & 07777, info.st_gid, ::getuid(), ::getgid()),
                  fix_for_permission(info.st_mode & 0777, info.st_gid));
    }
    default:
      throw Error("cannot open /dev/kvm: " + errno_text(error));
  }
}

}  // namespace

std::string fix_for_permission(unsigned mode, unsigned group) {
  constexpr unsigned kAll = 0006, kGroup = 0060;
  if ((mode & kAll) == kAll)
    return "a container keeps it from you: docker run --device /dev/kvm, or what yours calls it";
  // To be in root's group would be no remedy.
  if ((mode & kGroup) != kGroup || group == 0) {
    return "sudo chgrp kvm /dev/kvm && sudo chmod 0660 /dev/kvm && sudo usermod -aG kvm $USER and log in again, or in "
           "CI: sudo chmod 0666 /dev/kvm";
  }
  return "sudo usermod -aG kvm $USER and log in again, or in CI: sudo chmod 0666 /dev/kvm";
}

Kvm::Kvm() : fd_(::open("/dev/kvm", O_RDWR | O_CLOEXEC)) {
  if (!fd_) refuse(errno);
  if (const int version = kvm_ioctl(fd_.get(), KVM_GET_API_VERSION); version != KVM_API_VERSION) {
    throw Error(fmt::format("/dev/kvm speaks version {} of its interface, this program {}", version, KVM_API_VERSION));
  }
  for (const auto& [capability_needed, name] : {std::pair{KVM_CAP_IRQCHIP, "in-kernel interrupt controllers"},
                                                {KVM_CAP_USER_MEMORY, "user memory"},
                                                {KVM_CAP_IOEVENTFD, "ioeventfd"},
                                                {KVM_CAP_SIGNAL_MSI, "message-signalled interrupts"},
                                                {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"}}) {
    if (capability(capability_needed) == 0) {
      throw Error(fmt::format("this host's KVM lacks {}", name), "use Linux 5.10 or newer");
    }
  }
}

int Kvm::capability(int number) const {
  return std::max(0, kvm_ioctl(fd_.get(), KVM_CHECK_EXTENSION, static_cast<unsigned long>(number)));
}

unsigned Kvm::max_vcpus() const { return static_cast<unsigned>(capability(KVM_CAP_MAX_VCPUS)); }

size_t Kvm::run_size() const { return static_cast<size_t>(kvm_ioctl(fd_.get(), KVM_GET_VCPU_MMAP_SIZE)); }

bool Kvm::emulates_kernel_code() { return !cpu_has_virtualization(); }

}  // namespace vmm
