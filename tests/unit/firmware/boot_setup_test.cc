// Boot setup: memory maps, where initrds go, command lines, and the state of the CPU.
#include "firmware/boot_setup.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/layout_x86_64.h"
#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace vmm {
static bool operator==(const MemoryMapEntry& left, const MemoryMapEntry& right) {
  return left.start == right.start && left.size == right.size && left.type == right.type;
}
}  // namespace vmm

namespace {

constexpr auto kRam = MemoryMapEntry::kRam, kReserved = MemoryMapEntry::kReserved;
constexpr MemoryMapEntry kBelow640K{0, 0x9fc00, kRam}, kBios{0x9fc00, 0x60400, kReserved},
    kEcam{0xe0000000, kMiB, kReserved};

// An initrd of a size, without its bytes.
class Blank : public ByteSource {
 public:
  explicit Blank(uint64_t size) : size_(size) {}
  uint64_t size() const override { return size_; }
  size_t read_at(uint64_t, std::span<std::byte> to) const override { return to.size(); }

 private:
  uint64_t size_;
};

struct Initrd {
  AddressRange high(uint64_t size, AddressRange kernel, uint64_t ceiling = kFourGiB) {
    const Blank blank(size);
    const BootModule module{&blank, "initrd"};
    return load_initrd_high({boot.memory, boot.platform, std::span(&module, 1), "kernel"}, kernel, ceiling);
  }
  AddressRange after(uint64_t size, uint64_t kernel_end) {
    const Blank blank(size);
    return load_module_after({boot.memory, boot.platform, {}, "kernel"}, blank, kernel_end);
  }
  Boot boot{64 * kMiB};
};

}  // namespace

TEST_CASE("memory map: 32 MiB", "[firmware][boot]") {
  CHECK(memory_map(platform_with(32 * kMiB)) ==
        std::vector<MemoryMapEntry>{kBelow640K, kBios, {kMiB, 31 * kMiB, kRam}, kEcam});
}

TEST_CASE("memory map: 3 GiB reach to the hole", "[firmware][boot]") {
  CHECK(memory_map(platform_with(3 * kGiB)) ==
        std::vector<MemoryMapEntry>{kBelow640K, kBios, {kMiB, 3 * kGiB - kMiB, kRam}, kEcam});
}

TEST_CASE("memory map: the fourth GiB lies above 4 GiB", "[firmware][boot]") {
  CHECK(memory_map(platform_with(4 * kGiB)) ==
        std::vector<MemoryMapEntry>{kBelow640K, kBios, {kMiB, 3 * kGiB - kMiB, kRam}, kEcam, {4 * kGiB, kGiB, kRam}});
}

TEST_CASE("memory map: 1 TiB", "[firmware][boot]") {
  CHECK(memory_map(platform_with(1024 * kGiB)).back() == MemoryMapEntry{4 * kGiB, 1021 * kGiB, kRam});
}

TEST_CASE("initrd: it ends on the last page below the end of low RAM", "[firmware][boot]") {
  Initrd initrd;
  const AddressRange range = initrd.high(kPageSize + 1, {kMiB, 2 * kMiB});
  CHECK(range.start == 64 * kMiB - 2 * kPageSize);
  CHECK(range.end == range.start + kPageSize + 1);
}

TEST_CASE("initrd: it may fill all that is left above the kernel", "[firmware][boot]") {
  Initrd initrd;
  CHECK(initrd.high(62 * kMiB, {kMiB, 2 * kMiB}).start == 2 * kMiB);
  CHECK_THROWS_WITH(initrd.high(62 * kMiB + 1, {kMiB, 2 * kMiB}), Contains("needs memory up to 65 MiB"));
}

TEST_CASE("initrd: without room above the kernel it goes below", "[firmware][boot]") {
  Initrd initrd;
  CHECK(initrd.high(15 * kMiB, {16 * kMiB, 60 * kMiB}).start == kMiB);
  CHECK_THROWS_AS(initrd.high(15 * kMiB + 1, {16 * kMiB, 60 * kMiB}), Error);
}

TEST_CASE("initrd: more memory is not advised where the kernel's ceiling is what is in the way", "[firmware][boot]") {
  Initrd initrd;
  CHECK_THROWS_WITH(initrd.high(40 * kMiB, {16 * kMiB, 32 * kMiB}, 48 * kMiB), Contains("does not fit below"));
}

TEST_CASE("initrd: a ceiling below everything, or a size beyond 4 GiB, is an error", "[firmware][boot]") {
  Initrd initrd;
  CHECK_THROWS_AS(initrd.high(1, {16 * kMiB, 32 * kMiB}, 1), Error);
  CHECK_THROWS_AS(initrd.high(uint64_t{1} << 62, {16 * kMiB, 32 * kMiB}), Error);
  CHECK_THROWS_AS(initrd.after(uint64_t{1} << 62, 2 * kMiB), Error);
}

TEST_CASE("initrd: after the kernel it lies on the next page, to the end of RAM", "[firmware][boot]") {
  Initrd initrd;
  CHECK(initrd.after(62 * kMiB - kPageSize, 2 * kMiB + 1).start == 2 * kMiB + kPageSize);
  CHECK_THROWS_WITH(initrd.after(62 * kMiB - kPageSize + 1, 2 * kMiB + 1), Contains("needs memory up to 65 MiB"));
}

TEST_CASE("require_low_ram: the advice is what reaches, and none where a hole is in the way", "[firmware][boot]") {
  const Platform platform = platform_with(16 * kMiB);
  const auto fix = [&](uint64_t end) {
    try {
      require_low_ram(platform, end, "it");
    } catch (const Error& error) {
      return error.fix();
    }
    return std::string("enough");
  };
  CHECK(fix(16 * kMiB) == "enough");
  CHECK(fix(16 * kMiB + 1) == "--mem 17M");
  CHECK(fix(3 * kGiB) == "--mem 3072M");
  CHECK(fix(3 * kGiB + 1).empty());
}

TEST_CASE("command line: a NUL inside is refused, other bytes are the guest's business", "[firmware][boot]") {
  Boot boot;
  CHECK_THROWS_WITH(write_command_line(boot.memory, std::string_view("a\0b", 3), 100), Contains("NUL"));
  write_command_line(boot.memory, "gr\xc3\xbc\xc3\x9f \xff", 100);
  CHECK(boot.text(kCommandLine.value) == "gr\xc3\xbc\xc3\x9f \xff");
}

TEST_CASE("command line: the limit is exact, and the empty one fits", "[firmware][boot]") {
  Boot boot;
  CHECK_NOTHROW(write_command_line(boot.memory, "1234", 4));
  CHECK_THROWS_AS(write_command_line(boot.memory, "12345", 4), Error);
  write_command_line(boot.memory, "", 0);
  CHECK(boot.text(kCommandLine.value).empty());
}

TEST_CASE("cpu: page tables map the first 4 GiB one to one", "[firmware][boot]") {
  Boot boot;
  const CpuEntry entry = enter_long64(boot.memory, kMiB);
  const uint64_t address = GENERATE(0x200000ull, 0xbfe00000ull, 0xffe00000ull);
  constexpr uint64_t kAddressBits = 0x000ffffffffff000;
  const uint64_t pointers = boot.at<uint64_t>(entry.page_tables.value) & kAddressBits;
  const uint64_t directory = boot.at<uint64_t>(pointers + 8 * (address >> 30)) & kAddressBits;
  CHECK(boot.at<uint64_t>(directory + 8 * (address >> 21 & 511)) == (address | 0x83));
}

TEST_CASE("cpu: the GDT has code of the mode, flat data and a TSS", "[firmware][boot]") {
  Boot boot;
  const CpuEntry long64 = enter_long64(boot.memory, kMiB);
  CHECK(long64.gdt_limit == 47);
  CHECK(boot.at<uint64_t>(long64.gdt.value + 0x10) == 0x00af9b000000ffff);
  const CpuEntry protected32 = enter_protected32(boot.memory, kMiB);
  CHECK(boot.at<uint64_t>(protected32.gdt.value + 0x10) == 0x00cf9b000000ffff);
  CHECK(boot.at<uint64_t>(protected32.gdt.value + 0x18) == 0x00cf93000000ffff);
  CHECK(boot.at<uint64_t>(protected32.gdt.value + 0x20) == 0x00008b0000000067);
}
