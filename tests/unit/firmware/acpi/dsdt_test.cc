// The DSDT as Intel's compiler reads it: it must decompile, and compile again without a word.
#include <fmt/core.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "vmm/core/check.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/acpi/acpi.h"
#include "firmware/acpi/tables.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_platform.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen((command + " 2>&1").c_str(), "r"), ::pclose);
  std::string output(64 << 10, '\0');
  output.resize(std::fread(output.data(), 1, output.size(), pipe.get()));
  return output;
}

std::string table_of(const Platform& platform) {
  const Bytes code = build_dsdt(platform);
  acpi::Header header{.signature = {'D', 'S', 'D', 'T'},
                      .length = static_cast<uint32_t>(sizeof(acpi::Header) + code.size()),
                      .revision = 2,
                      .oem_id = {'V', 'M', 'M', ' ', ' ', ' '},
                      .oem_table_id = {'V', 'M', 'M', 'T', 'A', 'B', 'L', 'E'},
                      .oem_revision = 1,
                      .creator_id = {'V', 'M', 'M', ' '},
                      .creator_revision = 1};
  Bytes table;
  append(table, header);
  table.insert(table.end(), code.begin(), code.end());
  table[offsetof(acpi::Header, checksum)] = checksum(table);
  return {table.begin(), table.end()};
}

struct Compiled {
  explicit Compiled(const Platform& platform) {
    INFO("this test needs iasl, of Debian's package acpica-tools");
    REQUIRE_THAT(output_of("iasl -v"), Contains("ASL"));
    temp.file("dsdt.aml", table_of(platform));
    decompilation = output_of("iasl -d -p " + temp("source") + " " + temp("dsdt.aml"));
    compilation = output_of("iasl -p " + temp("again") + " " + temp("source.dsl"));
    std::ifstream file(temp("source.dsl"));
    source = {std::istreambuf_iterator<char>(file), {}};
  }
  TempDirectory temp;
  std::string decompilation, compilation, source;
};

}  // namespace

TEST_CASE("dsdt: it decompiles, and compiles again with no errors and no warnings", "[firmware][dsdt]") {
  const unsigned cpus = GENERATE(1u, kMaxAcpiCpus);
  const Compiled dsdt(platform_with(kGiB, cpus));
  INFO(dsdt.decompilation << dsdt.compilation);
  CHECK_THAT(dsdt.decompilation, !Contains("Error") && !Contains("Warning"));
  CHECK_THAT(dsdt.compilation, Contains("0 Errors, 0 Warnings"));
}

TEST_CASE("dsdt: it names the devices of the platform", "[firmware][dsdt]") {
  const Compiled dsdt(platform_with(kGiB, 2));
  for (const char* expected :
       {"Device (C000)", "Device (C001)", "EisaId (\"PNP0A08\")", "EisaId (\"PNP0501\")", "EisaId (\"PNP0B00\")",
        "EisaId (\"PNP0303\")", "VM_Gen_Counter", "33db4d5b-1ff7-401c-9657-7441c03dd766"}) {
    INFO(expected);
    CHECK_THAT(dsdt.source, Contains(expected));
  }
}

TEST_CASE("dsdt: without a generation id there is no device for it", "[firmware][dsdt]") {
  Platform platform = platform_with(kGiB);
  platform.vm_generation_id = {};
  CHECK_THAT(Compiled(platform).source, !Contains("VM_Gen_Counter"));
}

TEST_CASE("dsdt: every pin of every slot has its interrupt", "[firmware][dsdt]") {
  const Compiled dsdt(platform_with(kGiB));
  CHECK_THAT(dsdt.source, Contains("Package (0x80)"));
  CHECK_THAT(dsdt.source, Contains("0x001FFFFF"));
}
