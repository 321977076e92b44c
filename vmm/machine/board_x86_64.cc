// The PC: PIC, IO-APIC and PIT in KVM, legacy chips at their ports, ACPI and SMBIOS tables. See board.h, and for the
// addresses layout_x86_64.h.
#include <fmt/core.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <utility>

#include "devices/pc/acpi_pm.h"
#include "devices/pc/debug_exit.h"
#include "devices/pc/fw_cfg.h"
#include "devices/pc/i8042.h"
#include "devices/pc/pc_testdev.h"
#include "devices/pc/reset_port.h"
#include "devices/pc/rtc_cmos.h"
#include "devices/pc/serial.h"
#include "devices/pc/system_control.h"
#include "firmware/acpi/acpi.h"
#include "firmware/bios.h"
#include "firmware/boot_setup.h"
#include "firmware/layout_x86_64.h"
#include "firmware/smbios.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/kvm/x86_64/boot_state.h"
#include "vmm/kvm/x86_64/cpu_model.h"
#include "vmm/kvm/x86_64/interrupt_state.h"
#include "vmm/kvm/x86_64/irqchip.h"
#include "vmm/machine/architecture.h"
#include "vmm/machine/board.h"
#include "vmm/machine/layout_x86_64.h"
#include "vmm/machine/serial_lines.h"

namespace vmm {

namespace {

using Identifier = std::array<uint8_t, 16>;

Identifier random_identifier() {
  Identifier bytes;
  CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));  // never short below 256
  return bytes;
}

// RFC 4122 §4.4: version 4, random.
Identifier random_uuid() {
  Identifier uuid = random_identifier();
  uuid[6] = static_cast<uint8_t>(0x40 | (uuid[6] & 0x0f));
  uuid[8] = static_cast<uint8_t>(0x80 | (uuid[8] & 0x3f));
  return uuid;
}

BootState boot_state(const CpuEntry& entry) {
  return {.long_mode = entry.mode == CpuEntry::Mode::kLong64,
          .rip = entry.rip,
          .rax = entry.rax,
          .rbx = entry.rbx,
          .rsi = entry.rsi,
          .rsp = entry.rsp,
          .page_tables = entry.page_tables.value,
          .gdt = entry.gdt.value,
          .gdt_limit = entry.gdt_limit};
}

class PcBoard final : public Board {
 public:
  explicit PcBoard(const World& world);

  PciRoot& pci() override { return pci_; }
  PciRoot::Wire pci_wire(size_t slot) override {
    const uint8_t irq = layout::kPciIrqs[slot % layout::kPciIrqs.size()];
    level_triggered_ |= static_cast<uint16_t>(1 << irq);
    return {world_.host.irq_line(irq), irq};
  }
  void prepare(const GuestMemory& memory, Vcpus vcpus) override;
  void press_power_button() override { power_.press_power_button(); }
  bool send_nmi() override {
    vmm::send_nmi(world_.vm);
    return true;
  }
  bool send_break(const CharBackend* console, std::optional<uint8_t> key) override {
    return serial_.send_break(console, key);
  }
  std::string describe_interrupts(Vcpus vcpus) override;
  std::string device_name(const Device* device) override;

 private:
  void plug_devices();
  void plug_testdev();
  void plug_debug_exit(uint16_t port);
  Platform describe() const;
  void end_by_reset(const char* by_what) const {
    world_.end({Outcome::Kind::kReset, exit_code::kReset, fmt::format("guest asked for a reset ({})", by_what)});
  }

  const World world_;
  // ISA lines that a device of PCI or ACPI has; the others take pulses, as from kvm-unit-tests' testdev.
  uint16_t level_triggered_ = 1 << layout::kAcpiIrq;
  std::unique_ptr<IrqLine> power_irq_;
  std::unique_ptr<IrqLine> clock_irq_;
  PciRoot pci_;
  AcpiPm power_;
  RtcCmos clock_;
  I8042 keyboard_controller_;
  ResetPort reset_port_;
  SystemControl system_control_;
  FwCfg fw_cfg_;
  std::optional<PcTestdev> testdev_;
  std::optional<DebugExit> debug_exit_;
  SerialLines<Serial> serial_;
};

PcBoard::PcBoard(const World& world)
    : world_(world),
      power_irq_(world.host.irq_line(layout::kAcpiIrq)),
      clock_irq_(world.host.irq_line(layout::kRtcIrq)),
      pci_(world.memory_bus, layout::kPciWindowStart, layout::kPciWindowSize),
      power_(*power_irq_,
             [this] {
               world_.end({Outcome::Kind::kPoweroff, exit_code::kClean, "guest powered off"});
             }),
      clock_(world.loop, *clock_irq_, world.backends.clock_battery),
      keyboard_controller_([this] { end_by_reset("keyboard controller"); }),
      reset_port_(pci_.ports(), [this] { end_by_reset("reset register"); }),
      system_control_([this] { end_by_reset("port 0x92"); }),
      fw_cfg_(static_cast<uint16_t>(world.config.cpus), world.config.memory) {
  request_large_registers(world.kvm);
  create_irqchip(world.kvm, world.vm);
  plug_devices();
}

void PcBoard::plug_devices() {
  const auto plug = [this](uint64_t port, uint64_t count, Device& device) {
    CHECK(world_.ports.add(port, count, device));
  };
  plug(layout::kKeyboardPort, I8042::kPorts, keyboard_controller_);
  plug(layout::kRtcPort, RtcCmos::kPorts, clock_);
  plug(layout::kFwCfgPort, FwCfg::kPorts, fw_cfg_);
  plug(layout::kAcpiPort, AcpiPm::kPorts, power_);
  plug(layout::kPciPort, ResetPort::kPorts, reset_port_);
  plug(layout::kSystemControlPort, SystemControl::kPorts, system_control_);
  CHECK(world_.memory_bus.add(layout::kEcamStart, PciRoot::kEcamSize, pci_.ecam()));
  for (size_t i = 0; i < world_.backends.serial.size(); ++i) {
    const auto& place = layout::kSerialPorts[i];
    plug(place.port, Serial::kPorts, serial_.add(world_.host.irq_line(place.irq), *world_.backends.serial[i]));
  }
  if (world_.config.pc_testdev) plug_testdev();
  if (world_.config.debug_exit_port) plug_debug_exit(*world_.config.debug_exit_port);
}

void PcBoard::plug_testdev() {
  PcTestdev::Inputs inputs;
  for (size_t input = 0; input < inputs.size(); ++input) {
    inputs[input] = world_.host.irq_line(static_cast<uint8_t>(input));
  }
  testdev_.emplace(world_.host.memory(), std::move(inputs));
  CHECK(testdev_->plug(world_.ports, world_.memory_bus));
}

void PcBoard::plug_debug_exit(uint16_t port) {
  debug_exit_.emplace([this](uint32_t value, uint8_t status) {
    std::string what = fmt::format("guest ended with status {} (it wrote {:#x} to the debug exit port)", status, value);
    // Statuses above have meanings of ours.
    const int code = std::min<int>(status, exit_code::kLastOfGuest);
    if (code != status) what += fmt::format(", which is reported as {}", code);
    world_.end({.kind = Outcome::Kind::kDebugExit, .exit_code = code, .what = std::move(what), .status = status});
  });
  if (!world_.ports.add(port, DebugExit::kPorts, *debug_exit_)) {
    throw Error(fmt::format("port {:#x} is taken by a device", port), "--debug-exit 0xf4");
  }
}

void PcBoard::prepare(const GuestMemory& memory, Vcpus vcpus) {
  const auto features = CpuModel::parse(world_.config.cpu).leaves(world_.kvm);
  const GuestMemory::Range highest = memory_ranges(world_.config.memory).back();
  require_addresses(features, highest.start.value + highest.size);
  for (const auto& thread : vcpus) {
    const Vcpu& vcpu = thread->vcpu();
    set_cpuid(vcpu, with_topology(features, vcpu.id(), static_cast<unsigned>(vcpus.size())));
    set_firmware_state(vcpu);
  }
  const Platform platform = describe();
  write_bios(memory);  // first: a kernel may be linked to where it is
  const CpuEntry entry = std::get<CpuEntry>(world_.backends.kernel.load(memory, platform, world_.backends.initrds));
  write_acpi(memory, platform);
  write_smbios(memory, platform);
  memory.write_value(platform.vm_generation_id, random_identifier());
  set_level_triggered(world_.vm, level_triggered_);
  set_boot_state(vcpus.front()->vcpu(), boot_state(entry));
}

Platform PcBoard::describe() const {
  Platform platform;
  platform.cpus = world_.config.cpus;
  platform.ram = memory_ranges(world_.config.memory);
  platform.ecam = {{layout::kEcamStart}, PciRoot::kEcamSize};
  platform.pci_window = {{layout::kPciWindowStart}, layout::kPciWindowSize};
  platform.pci_irqs = layout::kPciIrqs;
  for (size_t i = 0; i < serial_.size(); ++i) {
    platform.serial.push_back({layout::kSerialPorts[i].port, layout::kSerialPorts[i].irq});
  }
  platform.pm_base = layout::kAcpiPort;
  platform.sci_irq = layout::kAcpiIrq;
  platform.reset_port = layout::kResetPort;
  platform.sleep_type_s5 = AcpiPm::kSleepTypeOff;
  platform.vm_generation_id = kVmGenerationId;
  platform.serial_number = world_.config.serial_number.empty() ? world_.config.name : world_.config.serial_number;
  platform.uuid = random_uuid();
  platform.command_line = kernel_command_line(world_.config, world_.backends.kernel.info().kind);
  return platform;
}

std::string PcBoard::describe_interrupts(Vcpus vcpus) {
  std::string text = describe_interrupt_controllers(world_.vm);
  for (const auto& thread : vcpus) text += describe_local_apic(thread->vcpu());
  return text;
}

std::string PcBoard::device_name(const Device* device) {
  if (std::string line = serial_.name_of(device); !line.empty()) return line;
  if (device == &pci_.ecam()) return "PCI configuration (memory)";
  if (device == &reset_port_) return "PCI configuration (ports)";
  if (device == &power_) return "ACPI power management";
  if (device == &clock_) return "RTC and CMOS";
  if (device == &keyboard_controller_) return "i8042 keyboard controller";
  if (device == &fw_cfg_) return "fw_cfg";
  if (device == &system_control_) return "system control port";
  if (testdev_ && testdev_->is(device)) return "pc-testdev";
  return debug_exit_ && device == &*debug_exit_ ? "debug exit" : "";
}

}  // namespace

const Architecture kArchitecture = {.name = "x86_64",
                                    .serial_console = "ttyS",
                                    .kernels = "bzImage, vmlinux (PVH) or Multiboot kernel",
                                    .max_serial = layout::kSerialPorts.size(),
                                    .max_cpus = 254,  // xAPIC identifiers are 8 bits, 255 means all
                                    .has_ports = true,
                                    .knows_exit_pc = true};

std::unique_ptr<Board> Board::make(const World& world) { return std::make_unique<PcBoard>(world); }

std::vector<GuestMemory::Range> memory_ranges(uint64_t bytes) {
  std::vector<GuestMemory::Range> ranges{{{0}, std::min(bytes, layout::kLowMemoryEnd)}};
  if (bytes > layout::kLowMemoryEnd) ranges.push_back({{layout::kHighMemoryStart}, bytes - layout::kLowMemoryEnd});
  return ranges;
}

std::vector<MapRow> memory_map_of(const MachineConfig& config) {
  Platform platform;
  platform.ram = memory_ranges(config.memory);
  platform.ecam = {{layout::kEcamStart}, PciRoot::kEcamSize};
  std::vector<MapRow> map;
  for (const MemoryMapEntry& entry : memory_map(platform)) {
    map.push_back({entry.start, entry.size, entry.type == MemoryMapEntry::kRam ? "RAM" : "reserved"});
  }
  map.push_back({layout::kPciWindowStart, layout::kPciWindowSize, "PCI window"});
  map.push_back({layout::kIoApicStart, kPageSize, "IO-APIC"});
  map.push_back({layout::kLocalApicStart, kPageSize, "local APICs"});
  std::ranges::sort(map, {}, &MapRow::start);
  return map;
}

}  // namespace vmm
