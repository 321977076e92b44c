// The ARM machine: a GIC in KVM, PL011, PL031 and PL061, and a device tree that names them. See board.h, and for the
// addresses layout_aarch64.h.
#include <fmt/core.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "devices/arm/gic_v2m.h"
#include "devices/arm/pl031.h"
#include "devices/arm/pl061.h"
#include "devices/pc/serial.h"
#include "firmware/platform.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/kvm/aarch64/gic.h"
#include "vmm/kvm/aarch64/registers.h"
#include "vmm/machine/architecture.h"
#include "vmm/machine/board.h"
#include "vmm/machine/layout_aarch64.h"
#include "vmm/machine/serial_lines.h"

namespace vmm {

namespace {

constexpr unsigned kPowerButton = 3;     // its line of the PL061
constexpr unsigned kMaxCpusOfGicV2 = 8;  // it has 8 CPU interfaces

uint64_t serial_address(size_t index) { return layout::kSerial + index * layout::kChipSize; }

class ArmBoard final : public Board {
 public:
  explicit ArmBoard(const World& world);

  PciRoot& pci() override { return pci_; }
  PciRoot::Wire pci_wire(size_t slot) override {
    const uint8_t irq = layout::kPciIrqs[slot % layout::kPciIrqs.size()];
    return {world_.host.irq_line(irq), irq};
  }
  void prepare(const GuestMemory& memory, Vcpus vcpus) override;
  void press_power_button() override { gpio_.press(kPowerButton); }
  bool send_nmi() override { return false; }
  bool send_break(const CharBackend* console, std::optional<uint8_t> key) override {
    return serial_.send_break(console, key);
  }
  std::string describe_interrupts(Vcpus) override { return has_gic_v2() ? "GICv2\n" : "GICv3\n"; }
  std::string device_name(const Device* device) override;

 private:
  bool has_gic_v2() const { return gic_version_ == Gic::Version::kV2; }
  void plug_message_frame();
  Platform describe(Vcpus vcpus) const;

  const World world_;
  const Gic::Version gic_version_;
  std::unique_ptr<IrqLine> clock_irq_;
  std::unique_ptr<IrqLine> gpio_irq_;
  PciRoot pci_;
  Pl031 clock_;
  Pl061 gpio_;
  GicV2m message_frame_;
  SerialLines<ArmSerial> serial_;
  std::optional<Gic> gic_;
};

// An interrupt of the message frame is an edge.
ArmBoard::ArmBoard(const World& world)
    : world_(world),
      gic_version_(Gic::best(world.vm)),
      clock_irq_(world.host.irq_line(layout::kClockIrq)),
      gpio_irq_(world.host.irq_line(layout::kGpioIrq)),
      pci_(world.memory_bus, layout::kPciWindowStart, layout::kPciWindowSize),
      clock_(world.loop, *clock_irq_, world.backends.clock_battery.offset),
      gpio_(world.loop, *gpio_irq_),
      message_frame_(Gic::kFirstSpi + layout::kFirstMessageIrq, layout::kMessageIrqs,
                     [&vm = world.vm](uint32_t number) {
                       vm.set_irq_line(number - Gic::kFirstSpi, true);
                       vm.set_irq_line(number - Gic::kFirstSpi, false);
                     }) {
  const auto plug = [&world](uint64_t address, uint64_t size, Device& device) {
    CHECK(world.memory_bus.add(address, size, device));
  };
  plug(layout::kClock, Pl031::kSize, clock_);
  plug(layout::kGpio, Pl061::kSize, gpio_);
  plug(layout::kEcamStart, PciRoot::kEcamSize, pci_.ecam());
  for (size_t i = 0; i < world.backends.serial.size(); ++i) {
    auto wire = world.host.irq_line(static_cast<uint8_t>(layout::kSerialIrq + i));
    plug(serial_address(i), ArmSerial::kPorts, serial_.add(std::move(wire), *world.backends.serial[i]));
  }
  if (has_gic_v2()) plug_message_frame();
}

void ArmBoard::plug_message_frame() {
  if (world_.config.cpus > kMaxCpusOfGicV2) {
    throw Error(fmt::format("this host's interrupt controller (GICv2) has room for {} vCPUs", kMaxCpusOfGicV2),
                fmt::format("--cpus {}", kMaxCpusOfGicV2));
  }
  CHECK(world_.memory_bus.add(layout::kMessageFrame, GicV2m::kSize, message_frame_));
  world_.host.set_message_frame([this](const MsiMessage& message) {
    return message.address == layout::kMessageFrame + GicV2m::kSetSpi && message_frame_.send(message.data);
  });
}

void ArmBoard::prepare(const GuestMemory& memory, Vcpus vcpus) {
  for (const auto& thread : vcpus) init_vcpu(world_.vm, thread->vcpu());
  gic_.emplace(world_.vm, gic_version_,
               Gic::Places{.distributor = {layout::kDistributor},
                           .cpu_interface = {layout::kCpuInterface},
                           .redistributors = {layout::kRedistributors},
                           .its = {layout::kIts}});
  const auto entry =
      std::get<Aarch64Entry>(world_.backends.kernel.load(memory, describe(vcpus), world_.backends.initrds));
  set_entry(vcpus.front()->vcpu(), entry.pc, entry.x0);
}

Platform ArmBoard::describe(Vcpus vcpus) const {
  Platform platform;
  platform.cpus = world_.config.cpus;
  platform.ram = memory_ranges(world_.config.memory);
  platform.ecam = {{layout::kEcamStart}, PciRoot::kEcamSize};
  platform.pci_window = {{layout::kPciWindowStart}, layout::kPciWindowSize};
  platform.pci_irqs = layout::kPciIrqs;
  platform.serial_number = world_.config.serial_number.empty() ? world_.config.name : world_.config.serial_number;
  platform.command_line = kernel_command_line(world_.config, world_.backends.kernel.info().kind);
  Platform::Arm& arm = platform.arm;
  for (const auto& thread : vcpus) arm.affinities.push_back(affinity(thread->vcpu()));
  arm.gic_v2 = has_gic_v2();
  arm.distributor = {{layout::kDistributor}, Gic::kDistributorSize};
  arm.cpu_part = arm.gic_v2 ? GuestMemory::Range{{layout::kCpuInterface}, Gic::kCpuInterfaceSize}
                            : GuestMemory::Range{{layout::kRedistributors}, Gic::kRedistributorSize * vcpus.size()};
  arm.messages = arm.gic_v2 ? GuestMemory::Range{{layout::kMessageFrame}, GicV2m::kSize}
                            : GuestMemory::Range{{layout::kIts}, Gic::kItsSize};
  for (size_t i = 0; i < serial_.size(); ++i) {
    arm.serial.push_back({{{serial_address(i)}, layout::kChipSize}, static_cast<uint32_t>(layout::kSerialIrq + i)});
  }
  arm.clock = {{{layout::kClock}, layout::kChipSize}, layout::kClockIrq};
  arm.gpio = {{{layout::kGpio}, layout::kChipSize}, layout::kGpioIrq};
  arm.power_button = kPowerButton;
  CHECK(::getrandom(arm.seed.data(), arm.seed.size(), 0) == static_cast<ssize_t>(arm.seed.size()));
  return platform;
}

std::string ArmBoard::device_name(const Device* device) {
  if (std::string line = serial_.name_of(device); !line.empty()) return line;
  if (device == &pci_.ecam()) return "PCI configuration (memory)";
  if (device == &clock_) return "PL031 clock";
  if (device == &message_frame_) return "GICv2 message frame";
  return device == &gpio_ ? "PL061 GPIO" : "";
}

}  // namespace

const Architecture kArchitecture = {.name = "aarch64",
                                    .serial_console = "ttyAMA",
                                    .kernels = "arm64 Image, gzip'ed, or as an EFI zboot program",
                                    .max_serial = layout::kSerialLines,
                                    .max_cpus = layout::kMaxCpus};

std::unique_ptr<Board> Board::make(const World& world) { return std::make_unique<ArmBoard>(world); }

std::vector<GuestMemory::Range> memory_ranges(uint64_t bytes) { return {{{layout::kRamStart}, bytes}}; }

std::vector<MapRow> memory_map_of(const MachineConfig& config) {
  return {{layout::kDistributor, layout::kSerial - layout::kDistributor, "interrupt controller"},
          {layout::kSerial, layout::kGpio + layout::kChipSize - layout::kSerial, "serial lines, clock, GPIO"},
          {layout::kPciWindowStart, layout::kPciWindowSize, "PCI window"},
          {layout::kEcamStart, PciRoot::kEcamSize, "PCI configuration"},
          {layout::kRamStart, config.memory, "RAM"}};
}

}  // namespace vmm
