// KVM's VGIC devices; see gic.h.
#include "vmm/kvm/aarch64/gic.h"

#include <algorithm>
#include <bit>

#include "vmm/core/error.h"
#include "vmm/kvm/kvm.h"

namespace vmm {

namespace {

bool is_there(const Vm& vm, uint32_t type) {
  kvm_create_device request{.type = type, .fd = 0, .flags = KVM_CREATE_DEVICE_TEST};
  return kvm_ioctl(vm.fd(), KVM_CREATE_DEVICE, &request) >= 0;
}

UniqueFd create(const Vm& vm, uint32_t type, const char* what) {
  kvm_create_device request{.type = type, .fd = 0, .flags = 0};
  require(kvm_ioctl(vm.fd(), KVM_CREATE_DEVICE, &request), what);
  return UniqueFd(static_cast<int>(request.fd));
}

void set(const UniqueFd& device, uint32_t group, uint64_t number, const void* value, const char* what) {
  const kvm_device_attr attribute{
      .flags = 0, .group = group, .attr = number, .addr = reinterpret_cast<uint64_t>(value)};
  require(kvm_ioctl(device.get(), KVM_SET_DEVICE_ATTR, &attribute), what);
}

void place(const UniqueFd& device, uint64_t type, GuestAddress address) {
  set(device, KVM_DEV_ARM_VGIC_GRP_ADDR, type, &address.value, "place its interrupt controller");
}

void finish(const UniqueFd& device) {
  set(device, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, nullptr, "start its interrupt controller");
}

}  // namespace

Gic::Version Gic::best(const Vm& vm) {
  if (is_there(vm, KVM_DEV_TYPE_ARM_VGIC_V3)) return Version::kV3;
  if (is_there(vm, KVM_DEV_TYPE_ARM_VGIC_V2)) return Version::kV2;
  throw Error("this host's KVM has neither a GICv3 nor a GICv2", "use a host with one of them");
}

Gic::Gic(const Vm& vm, Version version, const Places& places) {
  const bool v3 = version == Version::kV3;
  gic_ = create(vm, v3 ? KVM_DEV_TYPE_ARM_VGIC_V3 : KVM_DEV_TYPE_ARM_VGIC_V2, "create an interrupt controller (GIC)");
  if (v3) {
    place(gic_, KVM_VGIC_V3_ADDR_TYPE_DIST, places.distributor);
    place(gic_, KVM_VGIC_V3_ADDR_TYPE_REDIST, places.redistributors);
  } else {
    place(gic_, KVM_VGIC_V2_ADDR_TYPE_DIST, places.distributor);
    place(gic_, KVM_VGIC_V2_ADDR_TYPE_CPU, places.cpu_interface);
  }
  set(gic_, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &kInterrupts, "say how many interrupts there are");
  finish(gic_);
  if (!v3) return;
  its_ = create(vm, KVM_DEV_TYPE_ARM_VGIC_ITS, "create a controller of messages (ITS)");
  place(its_, KVM_VGIC_ITS_ADDR_TYPE, places.its);
  finish(its_);
}

// Guests have 40 bits of addresses unless one says otherwise, which not every CPU has.
unsigned long Vm::type(const Kvm& kvm, const GuestMemory& memory) {
  uint64_t top = 0;
  for (const GuestMemory::Region& region : memory.regions()) top = std::max(top, region.start.value + region.size);
  const int most = kvm.capability(KVM_CAP_ARM_VM_IPA_SIZE);
  if (most == 0) return 0;
  constexpr int kFewest = 32;
  const int needed = std::max(kFewest, static_cast<int>(std::bit_width(top - 1)));
  if (needed > most) {
    throw Error("this host's CPU has too few address bits for so much memory", "ask for less with --mem");
  }
  return KVM_VM_TYPE_ARM_IPA_SIZE(static_cast<unsigned long>(needed));
}

// The input of a device is a shared peripheral interrupt.
void Vm::set_irq_line(uint32_t input, bool level) const {
  const kvm_irq_level line{.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (Gic::kFirstSpi + input),
                           .level = level ? 1u : 0u};
  kvm_ioctl(fd_.get(), KVM_IRQ_LINE, &line);  // cannot fail for one below Gic::kInterrupts
}

bool Vm::signal_msi(uint64_t address, uint32_t data, uint32_t device_id) const {
  kvm_msi message{};
  message.address_lo = static_cast<uint32_t>(address);
  message.address_hi = static_cast<uint32_t>(address >> 32);
  message.data = data;
  message.flags = KVM_MSI_VALID_DEVID;
  message.devid = device_id;
  return kvm_ioctl(fd_.get(), KVM_SIGNAL_MSI, &message) >= 0;
}

}  // namespace vmm
