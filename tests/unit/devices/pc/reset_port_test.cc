// The reset control register, in the midst of the PCI configuration ports.
#include "devices/pc/reset_port.h"

#include <catch2/catch.hpp>

#include "devices/bus.h"
#include "devices/pci/pci_root.h"
#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kReset = 1;  // from 0xcf8 on

struct Fixture {
  unsigned resets = 0;
  Bus memory;
  PciRoot pci{memory, 0xc0000000, 0x100000};
  ResetPort port{pci.ports(), [this] { ++resets; }};
};

}  // namespace

TEST_CASE("reset port: choosing a reset and then performing it resets once", "[reset]") {
  Fixture f;
  write_port<uint8_t>(f.port, kReset, 0x02);
  CHECK(f.resets == 0);
  CHECK(read_port<uint8_t>(f.port, kReset) == 0x02);
  write_port<uint8_t>(f.port, kReset, 0x06);
  CHECK(f.resets == 1);
  CHECK(read_port<uint8_t>(f.port, kReset) == 0x02);
}

TEST_CASE("reset port: a reset of the CPU alone is not performed", "[reset]") {
  Fixture f;
  write_port<uint8_t>(f.port, kReset, 0x04);
  CHECK(f.resets == 0);
}

TEST_CASE("reset port: PCI configuration goes on around it", "[reset]") {
  Fixture f;
  write_port<uint32_t>(f.port, 0, 0x80000000);
  CHECK(read_port<uint32_t>(f.port, 0) == 0x80000000);
  CHECK(read_port<uint16_t>(f.port, 4) == 0x1b36);  // the host bridge
  write_port<uint8_t>(f.port, kReset, 0);
  CHECK(read_port<uint32_t>(f.port, 0) == 0x80000000);
}

TEST_CASE("reset port: wide and neighbouring accesses do not reset", "[reset]") {
  Fixture f;
  write_port<uint32_t>(f.port, 0, 0x0606);
  write_port<uint16_t>(f.port, kReset, 0x0606);
  write_port<uint8_t>(f.port, 2, 0x06);
  CHECK(f.resets == 0);
}
