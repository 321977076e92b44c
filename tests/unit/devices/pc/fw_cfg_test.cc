// Items that a test kernel asks for, and items that are not there.
#include "devices/pc/fw_cfg.h"

#include <catch2/catch.hpp>

#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint16_t kSignature = 0, kId = 1, kRamSize = 3, kCpus = 5, kMaxCpus = 15;

struct Fixture {
  uint64_t item(uint16_t number, unsigned bytes) {
    write_port(config, 0, number);
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) value |= uint64_t{read_port<uint8_t>(config, 1)} << (8 * i);
    return value;
  }

  FwCfg config{7, 0x123456789abc};
};

}  // namespace

TEST_CASE("fw_cfg: shows what it is, the memory and the processors", "[fw_cfg]") {
  Fixture f;
  CHECK(f.item(kSignature, 4) == 0x554d4551);  // "QEMU"
  CHECK(f.item(kId, 4) == 1);
  CHECK(f.item(kRamSize, 8) == 0x123456789abc);
  CHECK(f.item(kCpus, 2) == 7);
  CHECK(f.item(kMaxCpus, 2) == 7);
}

TEST_CASE("fw_cfg: past an item's end, and of items that are not there, zeroes are read", "[fw_cfg]") {
  Fixture f;
  CHECK(f.item(kCpus, 8) == 7);
  CHECK(read_port<uint64_t>(f.config, 1) == 0);
  CHECK(f.item(0xffff, 8) == 0);
}

TEST_CASE("fw_cfg: selecting an item again starts it again", "[fw_cfg]") {
  Fixture f;
  CHECK(f.item(kSignature, 2) == 0x4551);
  CHECK(f.item(kSignature, 2) == 0x4551);
}

TEST_CASE("fw_cfg: data is read-only, half a selector selects nothing, and the selector reads as zero", "[fw_cfg]") {
  Fixture f;
  CHECK(f.item(kSignature, 1) == 0x51);
  write_port<uint8_t>(f.config, 1, 0xff);
  write_port<uint8_t>(f.config, 0, kCpus);
  CHECK(read_port<uint16_t>(f.config, 0) == 0);
  CHECK(read_port<uint8_t>(f.config, 1) == 0x45);
}
