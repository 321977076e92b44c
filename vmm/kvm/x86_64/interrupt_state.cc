// KVM_GET_IRQCHIP and KVM_GET_LAPIC, in words; see interrupt_state.h.
#include "vmm/kvm/x86_64/interrupt_state.h"

#include <fmt/core.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "vmm/kvm/kvm.h"

namespace vmm {

namespace {

constexpr std::array<std::string_view, 8> kDeliveryModes{"fixed", "lowest priority", "SMI",   "mode 3", "NMI",
                                                         "INIT",  "mode 6",          "ExtINT"};
// 256 bits in eight registers, 16 bytes apart.
constexpr size_t kInService = 0x100, kRequested = 0x200, kRegisterStep = 16;

std::string vectors(const kvm_lapic_state& state, size_t at) {
  std::string text;
  for (unsigned vector = 0; vector < 256; ++vector) {
    uint32_t bits = 0;
    std::memcpy(&bits, state.regs + at + vector / 32 * kRegisterStep, sizeof bits);
    if ((bits >> vector % 32 & 1) != 0) text += fmt::format(" {:#x}", vector);
  }
  return text.empty() ? " nothing" : text;
}

}  // namespace

std::string describe_io_apic(const kvm_ioapic_state& state) {
  std::string text;
  unsigned masked = 0;
  for (unsigned pin = 0; pin < KVM_IOAPIC_NUM_PINS; ++pin) {
    const auto& entry = state.redirtbl[pin].fields;
    const bool waits = (state.irr >> pin & 1) != 0;
    if (entry.mask != 0) ++masked;
    if (entry.mask != 0 && !waits) continue;
    text += fmt::format("IO-APIC {:2}: vector {:#04x} to {} {}, {}, {}, active {}{}{}{}\n", pin, entry.vector,
                        entry.dest_mode == 0 ? "APIC" : "logical", entry.dest_id, kDeliveryModes[entry.delivery_mode],
                        entry.trig_mode == 0 ? "edge" : "level", entry.polarity == 0 ? "high" : "low",
                        entry.mask == 0 ? "" : ", masked", waits ? ", requested" : "",
                        entry.remote_irr == 0 ? "" : ", in service");
  }
  return text + fmt::format("IO-APIC: {} of {} inputs are masked\n", masked, KVM_IOAPIC_NUM_PINS);
}

std::string describe_pic(const kvm_pic_state& state, unsigned first) {
  return fmt::format("PIC {}-{}: vectors from {:#04x}, masked {:#04x}, requested {:#04x}, in service {:#04x}\n", first,
                     first + 7, state.irq_base, state.imr, state.irr, state.isr);
}

std::string describe_local_apic(const kvm_lapic_state& state) {
  return fmt::format("in service{}; requested{}", vectors(state, kInService), vectors(state, kRequested));
}

std::string describe_interrupt_controllers(const Vm& vm) {
  std::string text;
  for (const int chip : {KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE}) {
    kvm_irqchip state{};
    state.chip_id = static_cast<uint32_t>(chip);
    if (kvm_ioctl(vm.fd(), KVM_GET_IRQCHIP, &state) < 0) continue;
    text += chip == KVM_IRQCHIP_IOAPIC ? describe_io_apic(state.chip.ioapic)
                                       : describe_pic(state.chip.pic, chip == KVM_IRQCHIP_PIC_MASTER ? 0 : 8);
  }
  return text;
}

std::string describe_local_apic(const Vcpu& vcpu) {
  kvm_lapic_state state{};
  if (kvm_ioctl(vcpu.fd(), KVM_GET_LAPIC, &state) < 0) return {};
  return fmt::format("vCPU {}: {}\n", vcpu.id(), describe_local_apic(state));
}

}  // namespace vmm
