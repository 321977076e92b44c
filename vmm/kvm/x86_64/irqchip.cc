// PIC, IO-APIC, local APICs and PIT in KVM; see irqchip.h.
#include "vmm/kvm/x86_64/irqchip.h"

#include <cstddef>

namespace vmm {

namespace {

// Three pages that KVM needs on Intel for real mode, and one for its identity map: in the hole under 4 GiB, where
// neither RAM nor device is (see machine/layout_x86_64.h).
constexpr uint64_t kTssAddress = 0xfffbd000;
constexpr uint64_t kIdentityMapAddress = 0xfffbc000;

// Which input of which chip an interrupt line (GSI) is wired to. As in every PC, and as the MADT says, the PIT is at
// input 2 of the I/O APIC; KVM by itself would have it at input 0, and kernels that try their timer (all but guests
// that know KVM) would not find it.
void wire_interrupt_lines(const Vm& vm) {
  constexpr uint32_t kPicInputs = 8, kPicLines = 16, kIoApicInputs = 24, kPit = 0, kCascade = 2;
  alignas(kvm_irq_routing)
      std::byte buffer[sizeof(kvm_irq_routing) + (kPicLines + kIoApicInputs) * sizeof(kvm_irq_routing_entry)]{};
  auto* routing = reinterpret_cast<kvm_irq_routing*>(buffer);
  // Compilers take the array of no length in the structure at its word.
  auto* entries = reinterpret_cast<kvm_irq_routing_entry*>(buffer + sizeof(kvm_irq_routing));
  const auto wire = [&](uint32_t line, uint32_t chip, uint32_t input) {
    kvm_irq_routing_entry& entry = entries[routing->nr++];
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
  require(kvm_ioctl(vm.fd(), KVM_SET_GSI_ROUTING, routing), "wire its interrupt lines");
}

}  // namespace

unsigned long Vm::type(const Kvm&, const GuestMemory&) { return 0; }

void create_irqchip(const Kvm& kvm, const Vm& vm) {
  if (kvm.capability(KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0) {
    require(kvm_ioctl(vm.fd(), KVM_SET_IDENTITY_MAP_ADDR, &kIdentityMapAddress), "place its identity map");
  }
  if (kvm.capability(KVM_CAP_SET_TSS_ADDR) > 0) {
    require(kvm_ioctl(vm.fd(), KVM_SET_TSS_ADDR, kTssAddress), "place its task state segment");
  }
  require(kvm_ioctl(vm.fd(), KVM_CREATE_IRQCHIP), "create interrupt controllers");
  const kvm_pit_config pit{.flags = KVM_PIT_SPEAKER_DUMMY, .pad = {}};
  require(kvm_ioctl(vm.fd(), KVM_CREATE_PIT2, &pit), "create a timer (PIT)");
  wire_interrupt_lines(vm);
}

void set_level_triggered(const Vm& vm, uint16_t mask) {
  const auto set = [&](uint32_t chip_id, uint8_t bits) {
    kvm_irqchip chip{};
    chip.chip_id = chip_id;
    require(kvm_ioctl(vm.fd(), KVM_GET_IRQCHIP, &chip), "read its interrupt controller");
    chip.chip.pic.elcr |= bits;
    require(kvm_ioctl(vm.fd(), KVM_SET_IRQCHIP, &chip), "set its interrupt controller");
  };
  set(KVM_IRQCHIP_PIC_MASTER, static_cast<uint8_t>(mask));
  set(KVM_IRQCHIP_PIC_SLAVE, static_cast<uint8_t>(mask >> 8));
}

void Vm::set_irq_line(uint32_t input, bool level) const {
  const kvm_irq_level line{.irq = input, .level = level ? 1u : 0u};
  kvm_ioctl(fd_.get(), KVM_IRQ_LINE, &line);  // cannot fail for an input below 24
}

// Who sends a message is of no account to an APIC.
bool Vm::signal_msi(uint64_t address, uint32_t data, uint32_t /*device_id*/) const {
  // Anything else would be a write to memory, which is not an interrupt (Intel SDM 3A §11.11.1).
  if (address >> 20 != 0xfee) return false;
  kvm_msi message{};
  message.address_lo = static_cast<uint32_t>(address);
  message.data = data;
  return kvm_ioctl(fd_.get(), KVM_SIGNAL_MSI, &message) >= 0;
}

void send_nmi(const Vm& vm) {
  // As a message to the local APICs (Intel SDM 3A §11.11): destination 0xff is all of them, delivery mode 4 is NMI. The
  // KVM_NMI ioctl would have to wait until the vCPU leaves the guest.
  constexpr uint64_t kAllCpus = 0xfee00000 | 0xff << 12;
  constexpr uint32_t kNmi = 4 << 8;
  vm.signal_msi(kAllCpus, kNmi, 0);
}

}  // namespace vmm
