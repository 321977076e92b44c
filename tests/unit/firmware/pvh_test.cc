// PVH: the start info that a kernel finds at EBX.
#include "firmware/pvh.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/layout_x86_64.h"
#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

std::string kernel() { return ElfBuilder(64).note(pvh_note(kMiB + 2)).load(kMiB, "__code", 0x1000).build(); }

// Fields of hvm_start_info.
constexpr uint64_t kVersion = 4, kModules = 12, kModuleList = 16, kCommandLineField = 24, kRsdp = 32, kMap = 40,
                   kMapEntries = 48;

}  // namespace

TEST_CASE("pvh: the CPU starts in 32-bit mode with start info, version 1", "[firmware][pvh]") {
  Boot boot;
  const CpuEntry entry = boot.load(kernel());
  CHECK(entry.mode == CpuEntry::Mode::kProtected32);
  CHECK(boot.bytes(entry.rip, 4) == "code");
  CHECK(boot.at<uint32_t>(entry.rbx) == 0x336ec578);
  CHECK(boot.at<uint32_t>(entry.rbx + kVersion) == 1);
}

TEST_CASE("pvh: command line and RSDP are named", "[firmware][pvh]") {
  Boot boot;
  const CpuEntry entry = boot.load(kernel());
  CHECK(boot.text(boot.at<uint64_t>(entry.rbx + kCommandLineField)) == "console=ttyS0");
  CHECK(boot.at<uint64_t>(entry.rbx + kRsdp) == kAcpiArea.start.value);
}

TEST_CASE("pvh: the memory map has all RAM", "[firmware][pvh]") {
  Boot boot(4 * kGiB);
  const CpuEntry entry = boot.load(kernel());
  REQUIRE(boot.at<uint32_t>(entry.rbx + kMapEntries) == 5);
  const uint64_t last = boot.at<uint64_t>(entry.rbx + kMap) + 4 * 24;
  CHECK(boot.at<uint64_t>(last) == 4 * kGiB);
  CHECK(boot.at<uint64_t>(last + 8) == kGiB);
  CHECK(boot.at<uint32_t>(last + 16) == 1);
}

TEST_CASE("pvh: the initrd is the one module", "[firmware][pvh]") {
  Boot boot;
  const CpuEntry entry = boot.load(kernel(), "initrd");
  CHECK(boot.at<uint32_t>(entry.rbx + kModules) == 1);
  const uint64_t list = boot.at<uint64_t>(entry.rbx + kModuleList);
  CHECK(boot.bytes(boot.at<uint64_t>(list), 6) == "initrd");
  CHECK(boot.at<uint64_t>(list + 8) == 6);
}

TEST_CASE("pvh: without an initrd there are no modules", "[firmware][pvh]") {
  Boot boot;
  CHECK(boot.at<uint32_t>(boot.load(kernel()).rbx + kModules) == 0);
}

TEST_CASE("pvh: the command line has Linux's limit", "[firmware][pvh]") {
  Boot boot;
  boot.platform.command_line = std::string(2047, 'x');
  CHECK_NOTHROW(boot.load(kernel()));
  boot.platform.command_line += 'x';
  CHECK_THROWS_WITH(boot.load(kernel()), Contains("at most 2047"));
}
