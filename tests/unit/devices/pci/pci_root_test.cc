// Configuration space by memory and by ports, and BARs that move.
#include "devices/pci/pci_root.h"

#include <linux/pci_regs.h>

#include <array>
#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;

namespace {

// A function with a 4 KiB BAR whose every byte reads as 0x5a.
class TestFunction : public PciDevice {
 public:
  TestFunction() : PciDevice({.vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000}, 4096) {}
  void read(uint64_t, std::span<std::byte> data) override { std::fill(data.begin(), data.end(), std::byte{0x5a}); }
  void placed(uint16_t requester) override { place = requester; }
  int place = -1;
};

struct Fixture {
  Fixture() {
    memory.add(0xe0000000, PciRoot::kEcamSize, root.ecam());
    ports.add(0xcf8, 8, root.ports());
    root.plug(std::make_unique<TestFunction>(), no_wire);
  }
  static PciRoot::Wire no_wire(size_t) { return {}; }

  template <typename T>
  T ecam(uint64_t offset) {
    T value{};
    memory.read(0xe0000000 + (1 << 15) + offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void set_ecam(uint64_t offset, T value) {
    memory.write(0xe0000000 + (1 << 15) + offset, std::as_bytes(std::span(&value, 1)));
  }
  template <typename T>
  T in(uint64_t port) {
    T value{};
    ports.read(port, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T = uint32_t>
  void out(uint64_t port, T value) {
    ports.write(port, std::as_bytes(std::span(&value, 1)));
  }
  uint8_t at(uint64_t address) {
    uint8_t value = 0;
    memory.read(address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  Bus memory;
  Bus ports;
  PciRoot root{memory, 0xc0000000, 0x100000};
};

}  // namespace

TEST_CASE("pci: a device is told its bus, device and function", "[pci]") {
  Fixture f;
  auto device = std::make_unique<TestFunction>();
  const TestFunction& placed = *device;
  CHECK(f.root.plug(std::move(device), Fixture::no_wire) == 2);
  CHECK(placed.place == 2 << 3);
}

TEST_CASE("pci: a device shows its identity both ways", "[pci]") {
  Fixture f;
  f.out(0xcf8, 0x80000800);
  CHECK(f.ecam<uint32_t>(0) == 0x56781234);
  CHECK(f.in<uint32_t>(0xcfc) == 0x56781234);
  CHECK(f.in<uint16_t>(0xcfe) == 0x5678);
  CHECK(f.in<uint8_t>(0xcff) == 0x56);
}

TEST_CASE("pci: absent buses, slots and functions read as ones", "[pci]") {
  Fixture f;
  const auto address = GENERATE(0x80010800u, 0x80000900u, 0x8000f800u, 0x00000800u);
  f.out(0xcf8, address);
  CHECK(f.in<uint32_t>(0xcfc) == 0xffffffff);
}

TEST_CASE("pci: accesses of odd widths and past a register are bounded", "[pci]") {
  Fixture f;
  f.out(0xcf8, 0x80000800);
  CHECK(f.in<uint16_t>(0xcff) == 0xff56);
  CHECK(f.ecam<uint64_t>(0xffc) == 0);
  CHECK(f.ecam<uint32_t>(0x100) == 0);
}

TEST_CASE("pci: the address port takes four bytes at once and nothing else", "[pci]") {
  Fixture f;
  f.out(0xcf8, 0x80000800);
  f.out<uint8_t>(0xcf8, 0xff);
  f.out<uint16_t>(0xcf8, 0xffff);
  f.out<uint8_t>(0xcfb, 0);
  CHECK(f.in<uint32_t>(0xcf8) == 0x80000800);
  CHECK(f.in<uint8_t>(0xcf8) == 0xff);
  CHECK(f.in<uint16_t>(0xcfa) == 0xffff);
}

TEST_CASE("pci: the data port writes as wide as asked, and never past its register", "[pci]") {
  Fixture f;
  f.out(0xcf8, 0x8000083c);  // the interrupt line
  f.out<uint8_t>(0xcfc, 0x12);
  CHECK(f.in<uint32_t>(0xcfc) == 0x12);
  f.out<uint16_t>(0xcff, 0x3434);
  f.out<uint32_t>(0xcfd, 0x34343434);
  CHECK(f.in<uint32_t>(0xcfc) == 0x12);
  f.out(0xcf8, 0x0000083c);  // not enabled
  f.out<uint8_t>(0xcfc, 0x56);
  f.out(0xcf8, 0x8000083c);
  CHECK(f.in<uint8_t>(0xcfc) == 0x12);
}

TEST_CASE("pci: every width at every offset of configuration space is answered", "[pci]") {
  Fixture f;
  std::array<std::byte, 8> data = {};
  for (uint64_t offset = 0; offset < 2 * PciRoot::kEcamSize / 32; ++offset) {
    for (size_t width = 1; width <= data.size(); width *= 2) {
      data.fill(std::byte{0xff});
      f.memory.write(0xe0000000 + offset, std::span(data).first(width));
      f.memory.read(0xe0000000 + offset, std::span(data).first(width));
    }
  }
  CHECK(f.ecam<uint32_t>(0) == 0x56781234);
}

TEST_CASE("pci: sizing a BAR reads back its size", "[pci]") {
  Fixture f;
  f.set_ecam<uint32_t>(PCI_BASE_ADDRESS_0, 0xffffffff);
  CHECK(f.ecam<uint32_t>(PCI_BASE_ADDRESS_0) == 0xfffff000);
  f.set_ecam<uint32_t>(PCI_BASE_ADDRESS_1, 0xffffffff);
  CHECK(f.ecam<uint32_t>(PCI_BASE_ADDRESS_1) == 0);
}

TEST_CASE("pci: the BAR answers where the guest puts it, while decoding is on", "[pci]") {
  Fixture f;
  CHECK(f.at(0xc0000000) == 0x5a);
  f.set_ecam<uint16_t>(PCI_COMMAND, 0);
  CHECK(f.at(0xc0000000) == 0xff);
  f.set_ecam<uint32_t>(PCI_BASE_ADDRESS_0, 0xc0080000);
  f.set_ecam<uint16_t>(PCI_COMMAND, PCI_COMMAND_MEMORY);
  CHECK(f.at(0xc0000000) == 0xff);
  CHECK(f.at(0xc0080000) == 0x5a);
}

TEST_CASE("pci: a BAR put over another device is not decoded, and both live on", "[pci]") {
  Fixture f;
  f.set_ecam<uint32_t>(PCI_BASE_ADDRESS_0, 0xe0000000);
  CHECK(f.ecam<uint32_t>(0) == 0x56781234);
  f.set_ecam<uint32_t>(PCI_BASE_ADDRESS_0, 0xc0000000);
  CHECK(f.at(0xc0000000) == 0x5a);
}

TEST_CASE("pci: the read-only identity takes no write", "[pci]") {
  Fixture f;
  f.set_ecam<uint64_t>(0, 0);
  CHECK(f.ecam<uint32_t>(0) == 0x56781234);
}

TEST_CASE("pci: the 32nd device is refused with words", "[pci]") {
  Fixture f;
  for (int i = 0; i < 30; ++i) f.root.plug(std::make_unique<TestFunction>(), Fixture::no_wire);
  CHECK_THROWS_AS(f.root.plug(std::make_unique<TestFunction>(), Fixture::no_wire), Error);
}
