// The machine-wide ioctls; see vm.h.
#include "vmm/kvm/vm.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstddef>

#include "vmm/core/error.h"

namespace vmm {

namespace {

// Three pages that KVM needs on Intel for real mode, and one for its identity map: in the hole under 4 GiB, where
// neither RAM nor device is (see machine/layout_x86_64.h).
constexpr uint64_t kTssAddress = 0xfffbd000;
constexpr uint64_t kIdentityMapAddress = 0xfffbc000;

void require(int result, const char* what) {
  if (result >= 0) return;
  throw Error(fmt::format("KVM cannot {}: {}", what, errno_text(-result)), "see what this host lacks: vmm doctor");
}

// Which input of which chip an interrupt line (GSI) is wired to. As in every PC, and as the MADT says, the PIT is at
// input 2 of the I/O APIC; KVM by itself would have it at input 0, and kernels that try their timer (all but guests
// that know KVM) would not find it.
void wire_interrupt_lines(int fd) {
  constexpr uint32_t kPicInputs = 8, kPicLines = 16, kIoApicInputs = 24, kPit = 0, kCascade = 2;
  alignas(kvm_irq_routing)
      std::byte buffer[sizeof(kvm_irq_routing) + (kPicLines + kIoApicInputs) * sizeof(kvm_irq_routing_entry)]{};
  auto* routing = reinterpret_cast<kvm_irq_routing*>(buffer);
  const auto wire = [&](uint32_t line, uint32_t chip, uint32_t input) {
    kvm_irq_routing_entry& entry = routing->entries[routing->nr++];
    entry.gsi = line;
    entry.type = KVM_IRQ_ROUTING_IRQCHIP;
    entry.u.irqchip = {.irqchip = chip, .pin = input};
  };
  for (uint32_t line = 0; line < kIoApicInputs; ++line) {
    if (line == kCascade) continue;
    if (line < kPicInputs) wire(line, KVM_IRQCHIP_PIC_MASTER, line);
    if (line >= kPicInputs && line < kPicLines) wire(line, KVM_IRQCHIP_PIC_SLAVE, line - kPicInputs);
    wire(line, KVM_IRQCHIP_IOAPIC, line == kPit ? kCascade : line);
  }
  require(kvm_ioctl(fd, KVM_SET_GSI_ROUTING, routing), "wire its interrupt lines");
}

}  // namespace

Vm::Vm(const Kvm& kvm, const GuestMemory& memory) {
  const int fd = kvm_ioctl(kvm.fd(), KVM_CREATE_VM);
  require(fd, "create a virtual machine");
  fd_ = UniqueFd(fd);
  if (kvm.capability(KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0) {
    require(kvm_ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &kIdentityMapAddress), "place its identity map");
  }
  if (kvm.capability(KVM_CAP_SET_TSS_ADDR) > 0) {
    require(kvm_ioctl(fd, KVM_SET_TSS_ADDR, kTssAddress), "place its task state segment");
  }
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
  require(kvm_ioctl(fd, KVM_CREATE_IRQCHIP), "create interrupt controllers");
  const kvm_pit_config pit{.flags = KVM_PIT_SPEAKER_DUMMY, .pad = {}};
  require(kvm_ioctl(fd, KVM_CREATE_PIT2, &pit), "create a timer (PIT)");
  wire_interrupt_lines(fd);
}

void Vm::set_irq_line(uint32_t gsi, bool level) const {
  const kvm_irq_level line{.irq = gsi, .level = level ? 1u : 0u};
  kvm_ioctl(fd_.get(), KVM_IRQ_LINE, &line);  // cannot fail for a GSI below 24
}

void Vm::set_level_triggered(uint16_t mask) const {
  const auto set = [&](uint32_t chip_id, uint8_t bits) {
    kvm_irqchip chip{};
    chip.chip_id = chip_id;
    require(kvm_ioctl(fd_.get(), KVM_GET_IRQCHIP, &chip), "read its interrupt controller");
    chip.chip.pic.elcr |= bits;
    require(kvm_ioctl(fd_.get(), KVM_SET_IRQCHIP, &chip), "set its interrupt controller");
  };
  set(KVM_IRQCHIP_PIC_MASTER, static_cast<uint8_t>(mask));
  set(KVM_IRQCHIP_PIC_SLAVE, static_cast<uint8_t>(mask >> 8));
}

bool Vm::signal_msi(uint64_t address, uint32_t data) const {
  // Anything else would be a write to memory, which is not an interrupt (Intel SDM 3A §11.11.1).
  if (address >> 20 != 0xfee) return false;
  kvm_msi message{};
  message.address_lo = static_cast<uint32_t>(address);
  message.data = data;
  return kvm_ioctl(fd_.get(), KVM_SIGNAL_MSI, &message) >= 0;
}

void Vm::send_nmi() const {
  // As a message to the local APICs (Intel SDM 3A §11.11): destination 0xff is all of them, delivery mode 4 is NMI. The
  // KVM_NMI ioctl would have to wait until the vCPU leaves the guest.
  constexpr uint64_t kAllCpus = 0xfee00000 | 0xff << 12;
  constexpr uint32_t kNmi = 4 << 8;
  signal_msi(kAllCpus, kNmi);
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
