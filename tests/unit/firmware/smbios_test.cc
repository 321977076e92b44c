// SMBIOS: both entry points, and a walk over the structures as a guest does it.
#include "firmware/smbios.h"

#include <map>

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/layout_x86_64.h"
#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

constexpr uint64_t kArea = 0xf0000;

struct Structure {
  std::string formatted;  // header included
  std::vector<std::string> strings;

  std::string string_at(size_t offset) const {
    const auto number = static_cast<uint8_t>(formatted.at(offset));
    return number == 0 ? "" : strings.at(number - 1u);
  }
  template <typename T>
  T field(size_t offset) const {
    T value{};
    std::memcpy(&value, formatted.substr(offset, sizeof value).data(), sizeof value);
    return value;
  }
};

uint8_t sum(std::string_view bytes) {
  unsigned total = 0;
  for (const char byte : bytes) total += static_cast<uint8_t>(byte);
  return static_cast<uint8_t>(total);
}

// Structures by type; the last of each.
std::map<uint8_t, Structure> walk(std::string_view table) {
  std::map<uint8_t, Structure> found;
  while (!table.empty()) {
    const auto type = static_cast<uint8_t>(table[0]);
    Structure& structure = found[type] = {std::string(table.substr(0, static_cast<uint8_t>(table[1]))), {}};
    table.remove_prefix(structure.formatted.size());
    // Strings, each with its NUL, then one more NUL; two if there are none (§6.1.3).
    for (std::string text = table.data(); !text.empty(); text = table.data()) {
      structure.strings.push_back(text);
      table.remove_prefix(text.size() + 1);
    }
    table.remove_prefix(structure.strings.empty() ? 2 : 1);
  }
  return found;
}

struct Smbios {
  explicit Smbios(const Platform& platform) : memory(std::array{GuestMemory::Range{{0}, kMiB}}) {
    write_smbios(memory, platform);
  }
  std::string bytes(uint64_t address, size_t length) const {
    std::string text(length, '\0');
    memory.read(GuestAddress{address}, std::as_writable_bytes(std::span(text)));
    return text;
  }
  std::string table() const { return bytes(kArea + 0x40, memory.read<uint32_t>({kArea + 0x0c}).value()); }

  GuestMemory memory;
};

}  // namespace

TEST_CASE("smbios: the 64-bit entry point is found by its anchor and sums to zero", "[firmware][smbios]") {
  const Smbios smbios(platform_with(kGiB));
  const std::string entry = smbios.bytes(kArea, 24);
  CHECK(entry.substr(0, 5) == "_SM3_");
  CHECK(entry[6] == 24);
  CHECK(sum(entry) == 0);
  CHECK(smbios.memory.read<uint64_t>({kArea + 0x10}) == kArea + 0x40);
}

TEST_CASE("smbios: the 32-bit entry point and its inner one sum to zero", "[firmware][smbios]") {
  const Smbios smbios(platform_with(kGiB));
  const std::string entry = smbios.bytes(kArea + 0x20, 31);
  CHECK(entry.substr(0, 4) == "_SM_");
  CHECK(entry.substr(16, 5) == "_DMI_");
  CHECK(sum(entry) == 0);
  CHECK(sum(entry.substr(16)) == 0);
  CHECK(smbios.memory.read<uint16_t>({kArea + 0x36}) == smbios.table().size());
}

TEST_CASE("smbios: a walk finds the structures, the last one ends the table", "[firmware][smbios]") {
  const Smbios smbios(platform_with(kGiB));
  const auto structures = walk(smbios.table());
  std::vector<int> types;
  for (const auto& [type, structure] : structures) types.push_back(type);
  CHECK(types == std::vector<int>{0, 1, 3, 16, 17, 19, 32, 127});
  CHECK(smbios.memory.read<uint16_t>({kArea + 0x3c}) == structures.size());
}

TEST_CASE("smbios: product, serial number and uuid are the platform's", "[firmware][smbios]") {
  Platform platform = platform_with(kGiB);
  platform.product = "a product";
  platform.serial_number = "4711";
  platform.uuid = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
  const Structure system = walk(Smbios(platform).table()).at(1);
  CHECK(system.string_at(5) == "a product");
  CHECK(system.string_at(7) == "4711");
  CHECK(system.formatted.substr(8, 16) ==
        std::string("\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16));
}

TEST_CASE("smbios: an empty serial number is no string", "[firmware][smbios]") {
  CHECK(walk(Smbios(platform_with(kGiB)).table()).at(1).field<uint8_t>(7) == 0);
}

TEST_CASE("smbios: memory below 32 GiB is in the old size field, more in the extended one", "[firmware][smbios]") {
  const Structure small = walk(Smbios(platform_with(64 * kMiB)).table()).at(17);
  CHECK(small.field<uint16_t>(0x0c) == 64);
  CHECK(small.field<uint32_t>(0x1c) == 0);
  const Structure large = walk(Smbios(platform_with(1024 * kGiB)).table()).at(17);
  CHECK(large.field<uint16_t>(0x0c) == 0x7fff);
  CHECK(large.field<uint32_t>(0x1c) == 1 << 20);
}

TEST_CASE("smbios: the last range of RAM is mapped to its last byte", "[firmware][smbios]") {
  const Structure range = walk(Smbios(platform_with(4 * kGiB)).table()).at(19);
  CHECK(range.field<uint64_t>(0x0f) == 4 * kGiB);
  CHECK(range.field<uint64_t>(0x17) == 5 * kGiB - 1);
}

TEST_CASE("smbios: strings beyond the area are an error", "[firmware][smbios]") {
  Platform platform = platform_with(kGiB);
  platform.product = std::string(64 << 10, 'x');
  CHECK_THROWS_WITH(Smbios(platform), Contains("SMBIOS tables take"));
}

TEST_CASE("smbios: a NUL in a string is an error", "[firmware][smbios]") {
  Platform platform = platform_with(kGiB);
  platform.product = std::string("a\0b", 3);
  CHECK_THROWS_WITH(Smbios(platform), Contains("NUL"));
}
