// A machine without a BIOS, and that it says so to who asks.
#include "firmware/bios.h"

#include <catch2/catch.hpp>
#include <string>

#include "firmware/layout_x86_64.h"
#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// Where the handler of a vector lies.
uint64_t handler(const Boot& boot, unsigned vector) {
  return boot.at<uint16_t>(vector * 4) + 16ull * boot.at<uint16_t>(vector * 4 + 2);
}

}  // namespace

TEST_CASE("bios: every vector leads to a handler in reserved memory", "[bios]") {
  const Boot boot;
  write_bios(boot.memory);
  for (unsigned vector = 0; vector < 256; ++vector) {
    CAPTURE(vector);
    CHECK(handler(boot, vector) >= kSmbiosArea.start.value + kSmbiosArea.size);
    CHECK(handler(boot, vector) + 16 <= kVmGenerationId.value);
  }
}

TEST_CASE("bios: services are not supported, device interrupts change no flag", "[bios]") {
  const Boot boot;
  write_bios(boot.memory);
  for (const unsigned vector : {0x10u, 0x13u, 0x15u, 0x16u, 0x1au, 0xffu}) {
    // push bp; mov bp, sp; or byte [bp+6], 1; pop bp; mov ah, 0x86; iret
    CHECK(boot.bytes(handler(boot, vector), 11) == "\x55\x89\xe5\x80\x4e\x06\x01\x5d\xb4\x86\xcf");
  }
  for (const unsigned vector : {0x08u, 0x0cu, 0x70u, 0x77u}) CHECK(boot.bytes(handler(boot, vector), 1) == "\xcf");
}

TEST_CASE("bios: its data area tells where the reserved memory begins", "[bios]") {
  const Boot boot;
  write_bios(boot.memory);
  CHECK(boot.at<uint16_t>(0x40e) * 16u == kReservedStart.value);
  CHECK(boot.at<uint16_t>(0x413) * 1024u == kReservedStart.value);
}
