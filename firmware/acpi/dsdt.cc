// The DSDT: a namespace with the processors, the PCI host bridge, the devices on fixed ports, and the S5 sleep type.
//
// It has no code except _OSC, which the PCI Firmware Specification demands. Identifiers are from ACPI 6.4 §5.6.7 and
// the PNP id list; the PCI bridge follows PCI Firmware Specification 3.2 §4.
#include <fmt/core.h>

#include "firmware/acpi/acpi.h"
#include "firmware/acpi/aml.h"
#include "firmware/layout_x86_64.h"
#include "vmm/core/check.h"

namespace vmm {
namespace {

using aml::Terms;

uint32_t address32(uint64_t address) {
  CHECK(address < kFourGiB);
  return static_cast<uint32_t>(address);
}

// \_S5 (§7.4.2): what to write into SLP_TYP of the PM1a and PM1b control registers to switch off.
Bytes soft_off(const Platform& platform) {
  const Bytes type = aml::integer(platform.sleep_type_s5);
  return aml::name("\\_S5", aml::package({type, type, aml::integer(0), aml::integer(0)}));
}

// _UID is what ties a processor to its local APIC entry in the MADT (§5.2.12.2).
Bytes processor(unsigned index) {
  return aml::device(fmt::format("C{:03X}", index),
                     {aml::name("_HID", aml::string("ACPI0007")), aml::name("_UID", aml::integer(index))});
}

// _PRT (§6.2.13): every pin of every slot is wired to a fixed GSI, rotated so that neighbours do not share one.
Bytes interrupt_routing(const Platform& platform) {
  constexpr unsigned kSlots = 32, kPins = 4, kAnyFunction = 0xffff;
  Terms routes;
  for (unsigned slot = 0; slot < kSlots; ++slot) {
    for (unsigned pin = 0; pin < kPins; ++pin) {
      const uint8_t gsi = platform.pci_irqs[(slot + pin) % platform.pci_irqs.size()];
      routes.push_back(aml::package(
          {aml::integer(slot << 16 | kAnyFunction), aml::integer(pin), aml::integer(0), aml::integer(gsi)}));
    }
  }
  return aml::package(routes);
}

// _OSC (§6.2.11, PCI Firmware Specification §4.5.1): the guest asks for control of PCI Express features in the third
// dword, and gets PME, AER and the capability structures. There is no hot plug to hand over.
Bytes operating_system_capabilities() {
  constexpr std::array<uint8_t, 16> kPciHostBridge = {0x33, 0xdb, 0x4d, 0x5b, 0x1f, 0xf7, 0x40, 0x1c,
                                                      0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
  constexpr uint64_t kPme = 1 << 2, kAer = 1 << 3, kCapabilityStructure = 1 << 4;
  constexpr uint64_t kUnknownUuid = 1 << 2, kUnknownRevision = 1 << 3, kCapabilitiesMasked = 1 << 4;

  const Bytes status = aml::name_string("CDW1");
  const Bytes control = aml::name_string("CDW3");
  const Bytes granted = aml::local(0);
  const auto report = [&](uint64_t bit) { return aml::bit_or(status, aml::integer(bit), status); };

  return aml::method(
      "_OSC", 4,
      {aml::create_dword_field(aml::arg(3), 0, "CDW1"),
       aml::if_then(
           aml::equal(aml::arg(0), aml::uuid(kPciHostBridge)),
           {aml::create_dword_field(aml::arg(3), 8, "CDW3"),
            aml::bit_and(control, aml::integer(kPme | kAer | kCapabilityStructure), granted),
            aml::if_then(aml::logical_not(aml::equal(aml::arg(1), aml::integer(1))), {report(kUnknownRevision)}),
            aml::if_then(aml::logical_not(aml::equal(control, granted)), {report(kCapabilitiesMasked)}),
            aml::store(granted, control)}),
       aml::otherwise({report(kUnknownUuid)}), aml::return_value(aml::arg(3))});
}

Bytes pci_host_bridge(const Platform& platform) {
  constexpr uint16_t kConfigAddress = 0xcf8;
  constexpr uint8_t kConfigPorts = 8;
  const uint64_t buses = platform.ecam.size >> 20;
  const uint64_t window = platform.pci_window.start.value;
  return aml::device(
      "PCI0",
      {aml::name("_HID", aml::eisa_id("PNP0A08")), aml::name("_CID", aml::eisa_id("PNP0A03")),
       aml::name("_SEG", aml::integer(0)), aml::name("_BBN", aml::integer(0)), aml::name("_UID", aml::integer(0)),
       aml::name("_CRS", aml::resources({
                             aml::bus_window(0, static_cast<uint16_t>(buses - 1)),
                             aml::io_ports(kConfigAddress, kConfigPorts),
                             aml::io_window(0, kConfigAddress - 1),
                             aml::io_window(kConfigAddress + kConfigPorts, 0xffff),
                             aml::memory_window(address32(window), address32(window + platform.pci_window.size - 1)),
                         })),
       aml::name("_PRT", interrupt_routing(platform)), operating_system_capabilities()});
}

// What the platform decodes itself, so that no BAR is placed there. PCI Firmware Specification §4.1.2 wants the
// configuration window reserved by a motherboard resource, not by the bridge.
Bytes motherboard(const Platform& platform) {
  constexpr uint8_t kPowerManagementPorts = 12;
  return aml::device(
      "MBRD",
      {aml::name("_HID", aml::eisa_id("PNP0C02")), aml::name("_UID", aml::integer(0)),
       aml::name("_CRS", aml::resources({
                             aml::fixed_memory(address32(platform.ecam.start.value), address32(platform.ecam.size)),
                             aml::io_ports(platform.pm_base, kPowerManagementPorts),
                         }))});
}

Bytes serial_port(const Platform::SerialPort& serial, size_t number) {
  return aml::device(fmt::format("S{:03X}", number),
                     {aml::name("_HID", aml::eisa_id("PNP0501")), aml::name("_UID", aml::integer(number)),
                      aml::name("_CRS", aml::resources({aml::io_ports(serial.port, 8), aml::irq(serial.irq)}))});
}

Bytes real_time_clock() {
  return aml::device("RTC", {aml::name("_HID", aml::eisa_id("PNP0B00")),
                             aml::name("_CRS", aml::resources({aml::io_ports(0x70, 2), aml::irq(8)}))});
}

Bytes keyboard_controller() {
  return aml::device(
      "KBD", {aml::name("_HID", aml::eisa_id("PNP0303")),
              aml::name("_CRS", aml::resources({aml::io_ports(0x60, 1), aml::io_ports(0x64, 1), aml::irq(1)}))});
}

// "Virtual Machine Generation ID" (Microsoft, 2012): found by _CID and _DDN; ADDR gives the low and the high half of
// the identifier's address.
Bytes vm_generation_id(GuestAddress address) {
  constexpr std::string_view kName = "VM_Gen_Counter";
  return aml::device(
      "VGEN",
      {aml::name("_HID", aml::string("VMMV0001")), aml::name("_CID", aml::string(kName)),
       aml::name("_DDN", aml::string(kName)),
       aml::name("ADDR", aml::package({aml::integer(address.value & UINT32_MAX), aml::integer(address.value >> 32)}))});
}

}  // namespace

Bytes build_dsdt(const Platform& platform) {
  Terms devices;
  for (unsigned index = 0; index < platform.cpus; ++index) devices.push_back(processor(index));
  devices.push_back(pci_host_bridge(platform));
  devices.push_back(motherboard(platform));
  for (size_t index = 0; index < platform.serial.size(); ++index) {
    devices.push_back(serial_port(platform.serial[index], index + 1));
  }
  devices.push_back(real_time_clock());
  devices.push_back(keyboard_controller());
  if (platform.vm_generation_id.value != 0) devices.push_back(vm_generation_id(platform.vm_generation_id));

  Bytes code = soft_off(platform);
  const Bytes system_bus = aml::scope("\\_SB", devices);
  code.insert(code.end(), system_bus.begin(), system_bus.end());
  return code;
}

}  // namespace vmm
