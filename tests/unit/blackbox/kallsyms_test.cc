// The kernel's symbols: by address, by name, and refused when they are not understood.
#include "vmm/blackbox/kallsyms.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kCode = LinuxMemory::kImage + LinuxMemory::kCode;

Kallsyms read(const LinuxMemory& linux) { return Kallsyms::read(linux.kernel(), linux.vmcoreinfo()); }
std::string name_at(const Kallsyms& table, uint64_t address) {
  const auto found = table.find(address);
  return found ? found->name : "none";
}

}  // namespace

TEST_CASE("kallsyms: an address is in the symbol before it", "[blackbox]") {
  LinuxMemory linux;
  linux.absolute_percpu = GENERATE(true, false);
  linux.add_code("panic", 0x100);
  linux.add_code("nmi_panic_self", 0x200);
  linux.write();
  const Kallsyms table = read(linux);
  REQUIRE(table.trouble().empty());
  CHECK(name_at(table, kCode + 0x100) == "panic");
  CHECK(name_at(table, kCode + 0x1ff) == "panic");
  CHECK(name_at(table, kCode + 0x200) == "nmi_panic_self");
  CHECK(table.find(kCode + 0x180)->address == kCode + 0x100);
  CHECK(table.find(kCode + 0x180)->is_code);
  CHECK(table.address_of("panic") == kCode + 0x100);
  CHECK_FALSE(table.address_of("pani"));
  CHECK_FALSE(table.address_of("panicked"));
}

TEST_CASE("kallsyms: where there is no base, as since Linux 7.0, each offset is from its own place", "[blackbox]") {
  LinuxMemory linux;
  linux.offsets_from_their_places = true;
  linux.add_code("panic", 0x100);
  linux.add_code("nmi_panic_self", 0x200);
  linux.write();
  const Kallsyms table = read(linux);
  REQUIRE(table.trouble().empty());
  CHECK(name_at(table, kCode + 0x1ff) == "panic");
  CHECK(name_at(table, kCode + 0x200) == "nmi_panic_self");
  CHECK(table.address_of("panic") == kCode + 0x100);
}

TEST_CASE("kallsyms: of several names for one place the first is told", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  CHECK(name_at(read(linux), kCode + 1) == "_stext");
}

TEST_CASE("kallsyms: outside of the kernel's image there are no symbols", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  const Kallsyms table = read(linux);
  const uint64_t outside = GENERATE(uint64_t{0}, uint64_t{0x7f0000001000}, LinuxMemory::kImage + 0x1fffff,
                                    uint64_t{0xffffffffc0000000}, UINT64_MAX);
  CHECK(name_at(table, outside) == "none");
}

TEST_CASE("kallsyms: a long name, whose length takes two bytes", "[blackbox]") {
  LinuxMemory linux;
  const std::string name(300, 'n');
  linux.add_code(name, 0x100);
  linux.add_code("after", 0x200);
  linux.write();
  const Kallsyms table = read(linux);
  CHECK(name_at(table, kCode + 0x100) == name);
  CHECK(name_at(table, kCode + 0x200) == "after");
}

TEST_CASE("kallsyms: a name is made fit for a terminal and not endless", "[blackbox]") {
  LinuxMemory linux;
  linux.add_code("a\x1b]0;x", 0x100);
  linux.add_code(std::string(3000, 'n'), 0x200);
  linux.write();
  const Kallsyms table = read(linux);
  CHECK(name_at(table, kCode + 0x100) == "a\\x1b]0;x");
  CHECK(name_at(table, kCode + 0x200).size() <= 511);
}

TEST_CASE("kallsyms: without its place it is named as missing", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  linux.info.erase("SYMBOL(kallsyms_names)");
  CHECK_THAT(read(linux).trouble(), Catch::Matchers::Contains("Linux 6.0"));
  CHECK(name_at(read(linux), kCode) == "none");
}

TEST_CASE("kallsyms: damage is named", "[blackbox]") {
  LinuxMemory linux;
  linux.add_code("panic", 0x100);
  linux.write();
  SECTION("too many") { linux.put(LinuxMemory::kCount, UINT32_MAX); }
  SECTION("none") { linux.put(LinuxMemory::kCount, uint32_t{0}); }
  SECTION("more than there is memory") { linux.put(LinuxMemory::kCount, uint32_t{1} << 20); }
  SECTION("more than there are names") {
    linux.put_bytes(LinuxMemory::kSymbolNames, std::string(4096, '\xff'));
    linux.put(LinuxMemory::kCount, uint32_t{20});
  }
  SECTION("tables in another order") { linux.set_symbol("kallsyms_token_table", LinuxMemory::kSymbolNames - 8); }
  SECTION("names too large") { linux.set_symbol("kallsyms_token_table", LinuxMemory::kSymbolNames + (64 << 20)); }
  CHECK(read(linux).trouble() == "the kernel's symbols are not in memory, or damaged");
}

TEST_CASE("kallsyms: a table that names a known symbol elsewhere is not understood", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  linux.put(LinuxMemory::kBase, LinuxMemory::kImage + 16);
  CHECK(read(linux).trouble() == "the kernel's symbols have a layout that is not known: Linux 6.1.0-1-test");
}
