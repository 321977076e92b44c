// The device tree as dtc reads it, and as a kernel finds its way in it.
#include "firmware/device_tree.h"

#include <libfdt.h>

#include <cstdio>
#include <memory>
#include <string>

#include "vmm/core/check.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "tests/support/arm_platform.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

// The words of dtc, its complaints among them.
std::string decompiled(const Bytes& tree) {
  INFO("this test needs dtc, of Debian's package device-tree-compiler");
  const TempDirectory temp;
  const std::string path = temp.file("tree.dtb", std::string(tree.begin(), tree.end()));
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(("dtc -I dtb -O dts " + path + " 2>&1").c_str(), "r"),
                                                   ::pclose);
  std::string text(256 << 10, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), pipe.get()));
  REQUIRE_THAT(text, Contains("/dts-v1/;"));
  return text;
}

// A property of a node, as bytes; "none" when there is none.
std::string property(const Bytes& tree, const std::string& path, const char* name) {
  const int node = fdt_path_offset(tree.data(), path.c_str());
  int length = 0;
  const void* bytes = fdt_getprop(tree.data(), node, name, &length);
  return bytes == nullptr ? "none" : std::string(static_cast<const char*>(bytes), static_cast<size_t>(length));
}

std::string cells(std::initializer_list<uint32_t> values) {
  std::string bytes;
  for (const uint32_t value : values) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  }
  return bytes;
}

}  // namespace

TEST_CASE("device tree: dtc finds nothing to complain of, with either interrupt controller", "[firmware][fdt]") {
  const bool gic_v2 = GENERATE(false, true);
  const std::string text = decompiled(make_device_tree(arm_platform(kGiB, 8, gic_v2), {0x44000000, 0x45000000}));
  CHECK_THAT(text, !Contains("Warning") && !Contains("Error"));
  CHECK_THAT(text, Contains(gic_v2 ? "arm,gic-v2m-frame" : "arm,gic-v3-its"));
}

TEST_CASE("device tree: the largest machine fits", "[firmware][fdt]") {
  const Bytes tree = make_device_tree(arm_platform(512 * kGiB, 123), {});
  CHECK(fdt_check_full(tree.data(), tree.size()) == 0);
  CHECK(tree.size() < kLargestDeviceTree);
  CHECK(property(tree, "/memory@40000000", "reg") == cells({0, 0x40000000, 0x80, 0}));
  // The 123rd CPU is the 11th of the eighth cluster.
  CHECK(property(tree, "/cpus/cpu@70a", "reg") == cells({0, 0x70a}));
}

TEST_CASE("device tree: the kernel is told its command line, console and initrd", "[firmware][fdt]") {
  const Bytes tree = make_device_tree(arm_platform(kGiB), {0x44000000, 0x44001234});
  CHECK(property(tree, "/chosen", "bootargs") == std::string("console=ttyAMA0\0", 16));
  CHECK(property(tree, "/chosen", "stdout-path") == std::string("/serial@9000000\0", 16));
  CHECK(property(tree, "/chosen", "linux,initrd-start") == cells({0, 0x44000000}));
  CHECK(property(tree, "/chosen", "linux,initrd-end") == cells({0, 0x44001234}));
  CHECK(property(tree, "/chosen", "rng-seed").size() == 56);
  CHECK(property(make_device_tree(arm_platform(kGiB), {}), "/chosen", "linux,initrd-start") == "none");
}

TEST_CASE("device tree: a slot's wire is the input that its device pulls", "[firmware][fdt]") {
  const Bytes tree = make_device_tree(arm_platform(kGiB), {});
  const std::string map = property(tree, "/pcie@3f000000", "interrupt-map");
  const size_t entry = 10 * sizeof(uint32_t);
  REQUIRE(map.size() == 16 * entry);
  // Slot 2, INTA: the third of the inputs, of a GIC's SPI, level high.
  CHECK(map.substr(8 * entry, entry) == cells({2 << 11, 0, 0, 1, 1, 0, 0, 0, 10, 4}));
}

// arm,gic.yaml and arm,gic-v3.yaml: a node of another name there is none of theirs.
TEST_CASE("device tree: the message controller is called what its GIC's binding wants", "[firmware][fdt]") {
  const auto compatible = [](bool gic_v2, const char* node) {
    const std::string path = std::string("/interrupt-controller@8000000/") + node;
    return property(make_device_tree(arm_platform(kGiB, 1, gic_v2), {}), path, "compatible");
  };
  CHECK(compatible(false, "msi-controller@8080000") == std::string("arm,gic-v3-its\0", 15));
  CHECK(compatible(true, "v2m@8020000") == std::string("arm,gic-v2m-frame\0", 18));
}

TEST_CASE("device tree: a GICv2's timers name their CPUs", "[firmware][fdt]") {
  const Bytes tree = make_device_tree(arm_platform(kGiB, 2, true), {});
  CHECK(property(tree, "/timer", "interrupts").substr(0, 12) == cells({1, 13, 0x304}));
  CHECK(property(tree, "/pcie@3f000000", "msi-parent") == cells({2}));
}
