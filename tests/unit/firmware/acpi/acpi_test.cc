// ACPI tables: everything is reached from the RSDP, sums to zero, and says what the platform says.
#include "firmware/acpi/acpi.h"

#include <map>

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/acpi/tables.h"
#include "firmware/layout_x86_64.h"
#include "tests/support/test_platform.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

// The tables as a guest finds them.
struct Tables {
  explicit Tables(const Platform& platform) : memory(std::array{GuestMemory::Range{{0}, kMiB}}) {
    rsdp_address = write_acpi(memory, platform);
    rsdp = memory.read<acpi::Rsdp>(rsdp_address).value();
    const Bytes xsdt = table(rsdp.xsdt_address);
    for (size_t offset = sizeof(acpi::Header); offset < xsdt.size(); offset += 8) {
      uint64_t address = 0;
      std::memcpy(&address, xsdt.data() + offset, sizeof address);
      add(address);
    }
    const auto fadt = body<acpi::Fadt>("FACP");
    add(fadt.x_dsdt);
  }

  Bytes table(uint64_t address) const {
    Bytes bytes(memory.read<acpi::Header>({address}).value().length);
    memory.read({address}, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  }
  void add(uint64_t address) {
    const Bytes bytes = table(address);
    by_signature[std::string(bytes.begin(), bytes.begin() + 4)] = bytes;
    end = std::max(end, address + bytes.size());
  }
  template <typename T>
  T body(const std::string& signature) const {
    T value;
    std::memcpy(&value, by_signature.at(signature).data() + sizeof(acpi::Header), sizeof value);
    return value;
  }
  // The MADT's entries of one type.
  std::vector<Bytes> madt(uint8_t type) const {
    const Bytes& bytes = by_signature.at("APIC");
    std::vector<Bytes> entries;
    for (size_t at = sizeof(acpi::Header) + sizeof(acpi::Madt); at < bytes.size(); at += bytes[at + 1]) {
      const auto start = bytes.begin() + static_cast<long>(at);
      if (*start == type) entries.emplace_back(start, start + start[1]);
    }
    return entries;
  }

  GuestMemory memory;
  GuestAddress rsdp_address;
  acpi::Rsdp rsdp{};
  std::map<std::string, Bytes> by_signature;
  uint64_t end = 0;
};

uint8_t sum(std::span<const uint8_t> bytes) {
  unsigned total = 0;
  for (const uint8_t byte : bytes) total += byte;
  return static_cast<uint8_t>(total);
}

}  // namespace

TEST_CASE("acpi: the RSDP lies where guests search, and both its sums are zero", "[firmware][acpi]") {
  const Tables tables(platform_with(kGiB));
  CHECK(tables.rsdp_address == GuestAddress{0xe0000});
  CHECK(std::string(tables.rsdp.signature.begin(), tables.rsdp.signature.end()) == "RSD PTR ");
  CHECK(sum(bytes_of(tables.rsdp).first(20)) == 0);
  CHECK(sum(bytes_of(tables.rsdp)) == 0);
}

TEST_CASE("acpi: all tables are reached, and each sums to zero", "[firmware][acpi]") {
  const Tables tables(platform_with(kGiB));
  CHECK(sum(tables.table(tables.rsdp.xsdt_address)) == 0);
  for (const char* signature : {"FACP", "APIC", "MCFG", "DSDT"}) {
    INFO(signature);
    CHECK(sum(tables.by_signature.at(signature)) == 0);
  }
  CHECK(tables.by_signature.size() == 4);
}

TEST_CASE("acpi: the RSDT lists what the XSDT lists, for guests that read no other", "[firmware][acpi]") {
  const Tables tables(platform_with(kGiB));
  const Bytes rsdt = tables.table(tables.rsdp.rsdt_address), xsdt = tables.table(tables.rsdp.xsdt_address);
  CHECK(std::string(rsdt.begin(), rsdt.begin() + 4) == "RSDT");
  CHECK(sum(rsdt) == 0);
  REQUIRE(rsdt.size() == sizeof(acpi::Header) + 3 * 4);
  for (size_t entry = 0; entry < 3; ++entry) {
    uint32_t narrow = 0;
    uint64_t wide = 0;
    std::memcpy(&narrow, rsdt.data() + sizeof(acpi::Header) + entry * 4, sizeof narrow);
    std::memcpy(&wide, xsdt.data() + sizeof(acpi::Header) + entry * 8, sizeof wide);
    CHECK(narrow == wide);
  }
}

TEST_CASE("acpi: the FACS is aligned to 64 bytes", "[firmware][acpi]") {
  const Tables tables(platform_with(kGiB));
  const uint64_t address = tables.body<acpi::Fadt>("FACP").firmware_ctrl;
  CHECK(address % 64 == 0);
  CHECK(tables.memory.read<acpi::Facs>({address})->signature == std::array{'F', 'A', 'C', 'S'});
}

TEST_CASE("acpi: the FADT names ports, SCI and reset of the platform", "[firmware][acpi]") {
  const auto fadt = Tables(platform_with(kGiB)).body<acpi::Fadt>("FACP");
  CHECK(fadt.pm1a_evt_blk == 0x600);
  CHECK(fadt.pm1a_cnt_blk == 0x604);
  CHECK(fadt.pm_tmr_blk == 0x608);
  CHECK(fadt.x_pm_tmr_blk.access_size == 3);
  CHECK(fadt.sci_int == 9);
  CHECK(fadt.smi_cmd == 0);
  CHECK(uint64_t{fadt.reset_reg.address} == 0xcf9);
  CHECK((fadt.flags & 1u << 10) != 0);
}

TEST_CASE("acpi: the MADT has every CPU, the I/O APIC, the wires and the NMI", "[firmware][acpi]") {
  const Tables tables(platform_with(kGiB, 3));
  REQUIRE(tables.madt(0).size() == 3);
  CHECK(tables.madt(0)[2] == Bytes{0, 8, 2, 2, 1, 0, 0, 0});
  CHECK(tables.madt(1).size() == 1);
  CHECK(tables.madt(2).size() == 6);  // PIT, SCI and four PCI wires
  CHECK(tables.madt(2)[0] == Bytes{2, 10, 0, 0, 2, 0, 0, 0, 0, 0});
  CHECK(tables.madt(2)[1] == Bytes{2, 10, 0, 5, 5, 0, 0, 0, 0xf, 0});
  CHECK(tables.madt(4).size() == 1);
}

TEST_CASE("acpi: wires that share an interrupt are told once", "[firmware][acpi]") {
  Platform platform = platform_with(kGiB);
  platform.pci_irqs = {10, 9, 10, 9};
  CHECK(Tables(platform).madt(2).size() == 3);
}

TEST_CASE("acpi: the MCFG covers the buses of the configuration window", "[firmware][acpi]") {
  Platform platform = platform_with(kGiB);
  platform.ecam.size = 256 * kMiB;
  const auto mcfg = Tables(platform).body<acpi::Mcfg>("MCFG");
  CHECK(mcfg.base_address == 0xe0000000);
  CHECK(mcfg.end_bus == 255);
}

TEST_CASE("acpi: 254 CPUs fit into the area, each with its own id", "[firmware][acpi]") {
  const Tables tables(platform_with(kGiB, kMaxAcpiCpus));
  CHECK(tables.madt(0).size() == 254);
  CHECK(tables.madt(0).back()[3] == 253);
  CHECK(tables.end <= kSmbiosArea.start.value);
}

TEST_CASE("acpi: more CPUs than ids are an error, not a truncation", "[firmware][acpi]") {
  const unsigned cpus = GENERATE(255u, 256u, 1024u, ~0u);
  CHECK_THROWS_WITH(Tables(platform_with(kGiB, cpus)), Contains("local APIC ids address at most 254"));
}

TEST_CASE("acpi: tables beyond their area are an error", "[firmware][acpi]") {
  Platform platform = platform_with(kGiB, kMaxAcpiCpus);
  platform.serial.assign(2000, {0x3f8, 4});
  CHECK_THROWS_WITH(Tables(platform), Contains("more than 64 KiB"));
}

TEST_CASE("acpi: a machine without memory there is an error", "[firmware][acpi]") {
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, 512 << 10}});
  CHECK_THROWS_AS(write_acpi(memory, platform_with(512 << 10)), Error);
}
