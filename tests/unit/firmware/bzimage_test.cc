// bzImage: what is read from the setup header, what is refused, and the zero page.
#include "firmware/bzimage.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/layout_x86_64.h"
#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

boot_params zero_page(const Boot& boot, const CpuEntry& entry) { return boot.at<boot_params>(entry.rsi); }

std::string with_limit(uint32_t bytes) {
  return bzimage([=](setup_header& header) { header.cmdline_size = bytes; });
}

}  // namespace

TEST_CASE("bzimage: version, protocol and compression are read", "[firmware][bzimage]") {
  const KernelInfo info = inspect(bzimage());
  CHECK(info.kind == KernelKind::kBzImage);
  CHECK(info.summary == "6.1.0-test (boot protocol 2.15, lz4, 64-bit)");
  CHECK(info.entry == kBzImagePreferred + 0x200);
  CHECK(info.command_line_limit == 2047);
  CHECK(info.relocatable);
}

TEST_CASE("bzimage: the protected-mode part goes to its preferred address", "[firmware][bzimage]") {
  Boot boot;
  const CpuEntry entry = boot.load(bzimage());
  CHECK(entry.mode == CpuEntry::Mode::kLong64);
  CHECK(entry.rip == kBzImagePreferred + 0x200);
  CHECK(boot.bytes(kBzImagePreferred, 4) == "KKKK");
  CHECK(boot.bytes(kBzImagePreferred + 0x300, 4) == "\x02\x21\x4c\x18");
  CHECK(boot.at<uint8_t>(kBzImagePreferred + (64 << 10) - 1) == 'K');
}

TEST_CASE("bzimage: the zero page has the header, a loader type, command line and RSDP", "[firmware][bzimage]") {
  Boot boot;
  const boot_params params = zero_page(boot, boot.load(bzimage()));
  CHECK(uint32_t{params.hdr.header} == 0x53726448u);
  CHECK(params.hdr.type_of_loader == 0xff);
  CHECK(params.hdr.code32_start == kBzImagePreferred);
  CHECK(boot.text(params.hdr.cmd_line_ptr) == "console=ttyS0");
  CHECK(params.acpi_rsdp_addr == kAcpiArea.start.value);
  CHECK(params.sentinel == 0);
}

TEST_CASE("bzimage: the zero page has the memory map", "[firmware][bzimage]") {
  Boot boot;
  const boot_params params = zero_page(boot, boot.load(bzimage()));
  REQUIRE(params.e820_entries == 4);
  CHECK(params.e820_table[0].size == kReservedStart.value);
  CHECK(params.e820_table[1].type == 2);
  CHECK(params.e820_table[2].addr == kOneMiB);
  CHECK(params.e820_table[2].size == 63 * kMiB);
  CHECK(uint64_t{params.e820_table[3].addr} == 0xe0000000);
}

TEST_CASE("bzimage: what lies behind a short setup header is not taken for header", "[firmware][bzimage]") {
  Boot boot;
  const auto file = bzimage([](setup_header& header) {
    header.jump = 0x62eb;  // ends at 0x264, before handover_offset
    header.handover_offset = 0x12345678;
  });
  CHECK(zero_page(boot, boot.load(file)).hdr.handover_offset == 0);
}

TEST_CASE("bzimage: without an initrd the zero page names none", "[firmware][bzimage]") {
  Boot boot;
  const boot_params params = zero_page(boot, boot.load(bzimage()));
  CHECK(params.hdr.ramdisk_image == 0);
  CHECK(params.hdr.ramdisk_size == 0);
}

TEST_CASE("bzimage: the initrd lies on a page at the end of memory", "[firmware][bzimage]") {
  Boot boot;
  const boot_params params = zero_page(boot, boot.load(bzimage(), "initrd"));
  CHECK(params.hdr.ramdisk_image == 64 * kMiB - kPageSize);
  CHECK(params.hdr.ramdisk_size == 6);
  CHECK(boot.bytes(params.hdr.ramdisk_image, 6) == "initrd");
}

TEST_CASE("bzimage: the initrd ends below initrd_addr_max", "[firmware][bzimage]") {
  Boot boot;
  const auto file = bzimage([](setup_header& header) { header.initrd_addr_max = 0x2ffffff; });
  CHECK(zero_page(boot, boot.load(file, "initrd")).hdr.ramdisk_image == 0x3000000 - kPageSize);
}

TEST_CASE("bzimage: setup_sects of zero means four", "[firmware][bzimage]") {
  Boot boot;
  boot.load(bzimage([](setup_header& header) { header.setup_sects = 0; }));
  CHECK(boot.bytes(kBzImagePreferred, 4) == "KKKK");
}

TEST_CASE("bzimage: a file that ends anywhere in its headers is refused", "[firmware][bzimage]") {
  const auto length = GENERATE(0x206u, 0x210u, 0x263u, 0x400u, 0x9ffu, 0xa00u, 0xc00u, 0xa00u + (64u << 10) - 16u);
  CHECK_THROWS_AS(inspect(bzimage().substr(0, length)), Error);
}

TEST_CASE("bzimage: an incomplete last paragraph is no truncation", "[firmware][bzimage]") {
  const std::string file = bzimage();
  CHECK_NOTHROW(inspect(file.substr(0, file.size() - 15)));
}

TEST_CASE("bzimage: an old protocol is refused with its number", "[firmware][bzimage]") {
  const auto version = GENERATE(uint16_t{0x200}, uint16_t{0x205});
  CHECK_THROWS_WITH(inspect(bzimage([=](setup_header& header) { header.version = version; })),
                    Contains("older than 2.06"));
}

TEST_CASE("bzimage: a 32-bit kernel is called one", "[firmware][bzimage]") {
  CHECK_THROWS_WITH(inspect(bzimage([](setup_header& header) { header.xloadflags = 0; })),
                    Contains("no 64-bit entry point"));
}

TEST_CASE("bzimage: header fields that mean nothing are refused", "[firmware][bzimage]") {
  const auto damage = GENERATE(
      as<void (*)(setup_header&)>(),  //
      [](setup_header& header) { header.boot_flag = 0; }, [](setup_header& header) { header.jump = 0; },
      [](setup_header& header) { header.jump = 0x60eb; }, [](setup_header& header) { header.kernel_alignment = 0; },
      [](setup_header& header) { header.kernel_alignment = 0x300000; },
      [](setup_header& header) { header.init_size = 0; }, [](setup_header& header) { header.pref_address = 0x7000; },
      [](setup_header& header) { header.pref_address = kFourGiB; },
      [](setup_header& header) { header.pref_address = ~uint64_t{0}; },
      [](setup_header& header) { header.syssize = 0xffffffff; },
      [](setup_header& header) { header.setup_sects = 0xff; });
  CHECK_THROWS_AS(inspect(bzimage(damage)), Error);
}

TEST_CASE("bzimage: offsets of text beyond the file yield no text", "[firmware][bzimage]") {
  const KernelInfo info = inspect(bzimage([](setup_header& header) {
    header.kernel_version = 0xffff;
    header.payload_offset = 0xffffffff;
  }));
  CHECK(info.version.empty());
  CHECK(info.compression.empty());
}

TEST_CASE("bzimage: an init_size of 4 GiB asks for more memory, not for a wrapped address", "[firmware][bzimage]") {
  Boot boot;
  CHECK_THROWS_WITH(boot.load(bzimage([](setup_header& header) { header.init_size = 0xffffffff; })),
                    Contains("the kernel needs memory up to 4112 MiB"));
}

TEST_CASE("bzimage: a kernel that does not fit names the memory that would do", "[firmware][bzimage]") {
  Boot boot(16 * kMiB);
  std::string fix;
  try {
    boot.load(bzimage());
  } catch (const Error& error) {
    fix = error.fix();
  }
  CHECK(fix == "--mem 20M");
  CHECK_NOTHROW(Boot(20 * kMiB).load(bzimage()));
}

TEST_CASE("bzimage: a command line of the kernel's limit is passed, one byte more refused", "[firmware][bzimage]") {
  Boot boot;
  boot.platform.command_line = std::string(255, 'x');
  CHECK_NOTHROW(boot.load(with_limit(255)));
  CHECK_THROWS_WITH(boot.load(with_limit(254)), Contains("has 255 bytes, and this kernel takes at most 254"));
}

TEST_CASE("bzimage: a kernel that claims to take any command line gets at most 64 KiB", "[firmware][bzimage]") {
  Boot boot;
  boot.platform.command_line = std::string(1 << 20, 'x');
  CHECK_THROWS_AS(boot.load(with_limit(0xffffffff)), Error);
  boot.platform.command_line = std::string(0xffff, 'x');
  CHECK_NOTHROW(boot.load(with_limit(0xffffffff)));
  CHECK(boot.at<uint8_t>(kCommandLine.value + 0xffff) == 0);
}
