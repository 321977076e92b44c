// The device tree, written node by node through libfdt; see device_tree.h.
#include "firmware/device_tree.h"

#include <fmt/core.h>
#include <libfdt.h>
#include <linux/input-event-codes.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/core/check.h"

namespace vmm {
namespace {

using namespace std::string_view_literals;

// What other nodes point at.
enum Handle : uint32_t { kGic = 1, kMessages, kPclk, kGpio };

// arm,gic.yaml: the three cells of an interrupt.
enum : uint32_t { kSpi = 0, kPpi = 1 };
constexpr uint32_t kLevelHigh = 4;

class TreeWriter {
 public:
  TreeWriter() : bytes_(kLargestDeviceTree) {
    check(fdt_create(bytes_.data(), static_cast<int>(bytes_.size())));
    check(fdt_finish_reservemap(bytes_.data()));
  }

  template <typename Body>
  void node(const std::string& name, Body body) {
    check(fdt_begin_node(bytes_.data(), name.c_str()));
    body();
    check(fdt_end_node(bytes_.data()));
  }
  void mark(const char* name) { bytes(name, {}); }
  void text(const char* name, const std::string& value) { bytes(name, {value.c_str(), value.size() + 1}); }
  // Several strings, each with its NUL but for the last.
  void texts(const char* name, std::string_view values) { text(name, std::string(values)); }
  void cells(const char* name, std::span<const uint32_t> values) {
    std::string packed;
    for (const uint32_t value : values) {
      const fdt32_t cell = cpu_to_fdt32(value);
      packed.append(reinterpret_cast<const char*>(&cell), sizeof cell);
    }
    bytes(name, packed);
  }
  void cells(const char* name, std::initializer_list<uint32_t> values) { cells(name, std::span(values)); }
  void cell(const char* name, uint32_t value) { cells(name, {value}); }
  void wide(const char* name, uint64_t value) {
    cells(name, {static_cast<uint32_t>(value >> 32), static_cast<uint32_t>(value)});
  }
  // Addresses and sizes of two cells each.
  void reg(std::initializer_list<GuestMemory::Range> ranges) {
    std::vector<uint32_t> values;
    for (const auto& range : ranges) {
      for (const uint64_t number : {range.start.value, range.size}) {
        values.push_back(static_cast<uint32_t>(number >> 32));
        values.push_back(static_cast<uint32_t>(number));
      }
    }
    cells("reg", values);
  }
  void bytes(const char* name, std::string_view value) {
    check(fdt_property(bytes_.data(), name, value.data(), static_cast<int>(value.size())));
  }

  Bytes finish() {
    check(fdt_finish(bytes_.data()));
    bytes_.resize(fdt_totalsize(bytes_.data()));
    return std::move(bytes_);
  }

 private:
  // The largest machine fits many times, so that anything else is our own fault.
  static void check(int result) { CHECK(result == 0); }

  Bytes bytes_;
};

std::string at(std::string_view name, uint64_t address) { return fmt::format("{}@{:x}", name, address); }

void write_chosen(TreeWriter& tree, const Platform& platform, AddressRange initrd) {
  tree.node("chosen", [&] {
    tree.text("bootargs", platform.command_line);
    if (!platform.arm.serial.empty()) {
      tree.text("stdout-path", "/" + at("serial", platform.arm.serial.front().place.start.value));
    }
    if (initrd.end > initrd.start) {
      tree.wide("linux,initrd-start", initrd.start);
      tree.wide("linux,initrd-end", initrd.end);
    }
    const std::string_view seed(reinterpret_cast<const char*>(platform.arm.seed.data()), platform.arm.seed.size());
    tree.bytes("kaslr-seed", seed.substr(0, 8));
    tree.bytes("rng-seed", seed.substr(8));
  });
}

void write_cpus(TreeWriter& tree, const Platform& platform) {
  tree.node("cpus", [&] {
    tree.cell("#address-cells", 2);
    tree.cell("#size-cells", 0);
    for (const uint64_t affinity : platform.arm.affinities) {
      tree.node(at("cpu", affinity), [&] {
        tree.text("device_type", "cpu");
        tree.text("compatible", "arm,armv8");
        tree.text("enable-method", "psci");
        tree.wide("reg", affinity);
      });
    }
  });
  tree.node("psci", [&] {
    tree.texts("compatible", "arm,psci-1.0\0arm,psci-0.2"sv);
    tree.text("method", "hvc");
  });
}

// Timers of the secure world, the non-secure one, a virtual machine, and a hypervisor (arm,arch_timer.yaml).
void write_timer(TreeWriter& tree, const Platform& platform) {
  constexpr std::array<uint32_t, 4> kInterrupts{13, 14, 11, 10};
  // A GICv2 wants to know which CPUs.
  const uint32_t cpus = platform.arm.gic_v2 ? ((1u << platform.cpus) - 1) << 8 : 0;
  std::vector<uint32_t> interrupts;
  for (const uint32_t number : kInterrupts) interrupts.insert(interrupts.end(), {kPpi, number, cpus | kLevelHigh});
  tree.node("timer", [&] {
    tree.text("compatible", "arm,armv8-timer");
    tree.cells("interrupts", interrupts);
    tree.mark("always-on");
  });
}

void write_gic(TreeWriter& tree, const Platform::Arm& arm) {
  tree.node(at("interrupt-controller", arm.distributor.start.value), [&] {
    tree.text("compatible", arm.gic_v2 ? "arm,cortex-a15-gic" : "arm,gic-v3");
    tree.mark("interrupt-controller");
    tree.cell("#interrupt-cells", 3);
    tree.cell("#address-cells", 2);
    tree.cell("#size-cells", 2);
    tree.mark("ranges");
    tree.reg({arm.distributor, arm.cpu_part});
    tree.cell("phandle", kGic);
    tree.node(at(arm.gic_v2 ? "v2m" : "msi-controller", arm.messages.start.value), [&] {
      tree.text("compatible", arm.gic_v2 ? "arm,gic-v2m-frame" : "arm,gic-v3-its");
      tree.mark("msi-controller");
      if (!arm.gic_v2) tree.cell("#msi-cells", 1);
      tree.reg({arm.messages});
      tree.cell("phandle", kMessages);
    });
  });
}

// A PrimeCell: its identification registers say which.
template <typename Body>
void write_chip(TreeWriter& tree, std::string_view name, const Platform::Arm::Chip& chip, std::string_view compatible,
                Body body) {
  tree.node(at(name, chip.place.start.value), [&] {
    tree.texts("compatible", compatible);
    tree.reg({chip.place});
    tree.cells("interrupts", {kSpi, chip.irq, kLevelHigh});
    body();
  });
}

void write_chips(TreeWriter& tree, const Platform::Arm& arm) {
  tree.node("apb-pclk", [&] {
    tree.text("compatible", "fixed-clock");
    tree.cell("#clock-cells", 0);
    tree.cell("clock-frequency", 24'000'000);
    tree.cell("phandle", kPclk);
  });
  for (const auto& chip : arm.serial) {
    write_chip(tree, "serial", chip, "arm,pl011\0arm,primecell"sv, [&] {
      tree.cells("clocks", {kPclk, kPclk});
      tree.texts("clock-names", "uartclk\0apb_pclk"sv);
    });
  }
  const auto clocked = [&] {
    tree.cell("clocks", kPclk);
    tree.text("clock-names", "apb_pclk");
  };
  write_chip(tree, "rtc", arm.clock, "arm,pl031\0arm,primecell"sv, clocked);
  write_chip(tree, "gpio", arm.gpio, "arm,pl061\0arm,primecell"sv, [&] {
    clocked();
    tree.mark("gpio-controller");
    tree.cell("#gpio-cells", 2);
    tree.mark("interrupt-controller");
    tree.cell("#interrupt-cells", 2);
    tree.cell("#address-cells", 0);
    tree.cell("phandle", kGpio);
  });
  tree.node("gpio-keys", [&] {
    tree.text("compatible", "gpio-keys");
    tree.node("key-power", [&] {
      tree.text("label", "power button");
      tree.cell("linux,code", KEY_POWER);
      tree.cells("gpios", {kGpio, arm.power_button, 0});
    });
  });
}

// host-generic-pci.yaml. A slot's wire INTA is pci_irqs[slot % 4].
void write_pci(TreeWriter& tree, const Platform& platform) {
  constexpr uint32_t kMemory32 = 0x02000000;
  constexpr uint32_t kSlotShift = 11, kWires = 4;
  const auto start = static_cast<uint32_t>(platform.pci_window.start.value);
  const auto size = static_cast<uint32_t>(platform.pci_window.size);
  std::vector<uint32_t> wires;
  for (uint32_t slot = 0; slot < kWires; ++slot) {
    for (uint32_t pin = 0; pin < kWires; ++pin) {
      const uint32_t irq = platform.pci_irqs[(slot + pin) % kWires];
      wires.insert(wires.end(), {slot << kSlotShift, 0, 0, pin + 1, kGic, 0, 0, kSpi, irq, kLevelHigh});
    }
  }
  tree.node(at("pcie", platform.ecam.start.value), [&] {
    tree.text("compatible", "pci-host-ecam-generic");
    tree.text("device_type", "pci");
    tree.cell("#address-cells", 3);
    tree.cell("#size-cells", 2);
    tree.cell("#interrupt-cells", 1);
    tree.reg({platform.ecam});
    tree.cells("bus-range", {0, static_cast<uint32_t>((platform.ecam.size >> 20) - 1)});
    tree.cells("ranges", {kMemory32, 0, start, 0, start, 0, size});
    tree.cells("interrupt-map-mask", {(kWires - 1) << kSlotShift, 0, 0, 7});
    tree.cells("interrupt-map", wires);
    if (platform.arm.gic_v2) {
      tree.cell("msi-parent", kMessages);
    } else {
      tree.cells("msi-map", {0, kMessages, 0, 0x10000});
    }
    tree.mark("dma-coherent");
  });
}

}  // namespace

Bytes make_device_tree(const Platform& platform, AddressRange initrd) {
  TreeWriter tree;
  tree.node("", [&] {
    tree.cell("#address-cells", 2);
    tree.cell("#size-cells", 2);
    tree.text("compatible", "linux,dummy-virt");
    tree.text("model", platform.product);
    if (!platform.serial_number.empty()) tree.text("serial-number", platform.serial_number);
    tree.cell("interrupt-parent", kGic);
    write_chosen(tree, platform, initrd);
    for (const auto& range : platform.ram) {
      tree.node(at("memory", range.start.value), [&] {
        tree.text("device_type", "memory");
        tree.reg({range});
      });
    }
    write_cpus(tree, platform);
    write_timer(tree, platform);
    write_gic(tree, platform.arm);
    write_chips(tree, platform.arm);
    write_pci(tree, platform);
  });
  return tree.finish();
}

}  // namespace vmm
