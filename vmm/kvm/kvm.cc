// Opening and asking /dev/kvm; see kvm.h.
#include "vmm/kvm/kvm.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "vmm/core/error.h"

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

bool cpu_has_virtualization() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("flags")) continue;
    return (line + ' ').find(" svm ") != std::string::npos || (line + ' ').find(" vmx ") != std::string::npos;
  }
  return false;
}

[[noreturn]] void refuse(int error) {
  switch (error) {
    case ENOENT:
      if (!cpu_has_virtualization()) {
        throw Error("no /dev/kvm: this CPU or virtual machine has no virtualization (no svm or vmx in /proc/cpuinfo)",
                    "enable it in the firmware, or nested virtualization in the machine around this one");
      }
      throw Error("no /dev/kvm: the kvm module is not loaded", "sudo modprobe kvm_amd || sudo modprobe kvm_intel");
    case EACCES:
    case EPERM: {
      struct stat info {};
      ::stat("/dev/kvm", &info);
      throw Error(fmt::format("cannot open /dev/kvm: Permission denied (mode {:04o}, group {}; you are uid {}, gid {})",
                              info.st_mode & 07777, info.st_gid, ::getuid(), ::getgid()),
                  "sudo usermod -aG kvm $USER and log in again, or in CI: sudo chmod 0666 /dev/kvm");
    }
    case EBUSY:
      throw Error("cannot use /dev/kvm: another hypervisor holds the CPU's virtualization",
                  "stop the other one (VirtualBox, VMware) and try again");
    default:
      throw Error("cannot open /dev/kvm: " + errno_text(error));
  }
}

}  // namespace

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

std::vector<kvm_cpuid_entry2> Kvm::supported_cpuid() const {
  // The count is not known beforehand: the kernel says E2BIG until there is room.
  for (uint32_t room = 128; room <= 4096; room *= 2) {
    std::vector<uint64_t> buffer((sizeof(kvm_cpuid2) + room * sizeof(kvm_cpuid_entry2)) / sizeof(uint64_t) + 1);
    auto* list = reinterpret_cast<kvm_cpuid2*>(buffer.data());
    list->nent = room;
    const int result = kvm_ioctl(fd_.get(), KVM_GET_SUPPORTED_CPUID, list);
    if (result == -E2BIG) continue;
    if (result < 0) throw Error("cannot read the CPU features that KVM supports: " + errno_text(-result));
    return {list->entries, list->entries + list->nent};
  }
  throw Error("KVM supports more CPUID entries than this program expects");
}

bool Kvm::emulates_kernel_code() { return !cpu_has_virtualization(); }

}  // namespace vmm
