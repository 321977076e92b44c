// Images of 64-bit ARM, sound and damaged, and where their parts come to lie.
#include "firmware/arm64_image.h"

#include <libfdt.h>

#include <string>

#include "firmware/device_tree.h"
#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "tests/support/arm_image.h"
#include "tests/support/arm_platform.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

struct Machine {
  explicit Machine(uint64_t ram = 64 * kMiB) : platform(arm_platform(ram)), memory(platform.ram) {}
  Aarch64Entry load(const std::string& file, const std::string& initrd = {}) {
    const MemorySource kernel(as_file(file)), source(as_file(initrd));
    const BootModule module{&source, "initrd"};
    const auto modules = initrd.empty() ? std::span<const BootModule>() : std::span(&module, 1);
    const BootRequest request{memory, platform, modules, "kernel"};
    return load_arm64_image(parse_arm64_image(kernel), kernel, request);
  }
  std::string bytes(uint64_t address, size_t length) const {
    std::string text(length, '\0');
    memory.read(GuestAddress{address}, std::as_writable_bytes(std::span(text)));
    return text;
  }
  Platform platform;
  GuestMemory memory;
};

Arm64Image parse(const std::string& file) { return parse_arm64_image(MemorySource(as_file(file))); }

}  // namespace

TEST_CASE("arm64 image: says its release and its pages", "[firmware][image]") {
  const Arm64Image image = parse(arm64_image());
  CHECK(image.info.version == "6.1.0-arm64");
  CHECK(image.info.summary == "6.1.0-arm64 (pages of 4 KiB)");
  CHECK(image.image_size == 4 * kMiB);
}

TEST_CASE("arm64 image: a compressed one is unpacked, whatever it is wrapped in", "[firmware][image]") {
  const std::string plain = arm64_image();
  const std::string packed = gzip(plain);
  const bool in_zboot = GENERATE(false, true);
  const std::string file = in_zboot ? zboot(packed, "gzip", static_cast<uint32_t>(packed.size())) : packed;
  REQUIRE(may_be_arm64_image(MemorySource(as_file(file))));
  const Arm64Image image = parse(file);
  CHECK(image.size == plain.size());
  CHECK(image.info.version == "6.1.0-arm64");
  CHECK_THAT(image.info.summary, Contains("gzip"));
  Machine machine;
  const Aarch64Entry entry = machine.load(file);
  CHECK(machine.bytes(entry.pc, plain.size()) == plain);
}

TEST_CASE("arm64 image: kernel, device tree and initrd lie apart, from the start of RAM", "[firmware][image]") {
  Machine machine;
  const std::string initrd(5000, 'i');
  const Aarch64Entry entry = machine.load(arm64_image({.text_offset = 0x80000}), initrd);
  CHECK(entry.pc == kArmRam + 0x80000);
  CHECK(machine.bytes(entry.pc + 0x800, 13) == "Linux version");
  CHECK(entry.x0 % (2 * kMiB) == 0);
  CHECK(entry.x0 >= entry.pc + 4 * kMiB);
  const std::string tree = machine.bytes(entry.x0, kLargestDeviceTree);
  REQUIRE(fdt_check_header(tree.data()) == 0);
  int length = 0;
  const void* start = fdt_getprop(tree.data(), fdt_path_offset(tree.data(), "/chosen"), "linux,initrd-start", &length);
  REQUIRE(length == 8);
  const uint64_t address = fdt64_ld(static_cast<const fdt64_t*>(start));
  CHECK(address >= entry.x0 + fdt_totalsize(tree.data()));
  CHECK(machine.bytes(address, initrd.size()) == initrd);
}

TEST_CASE("arm64 image: too little memory is said, and how much it takes", "[firmware][image]") {
  Machine machine(32 * kMiB);
  CHECK_THROWS_WITH(machine.load(arm64_image({.image_size = 40 * kMiB})),
                    Contains("the kernel needs memory up to 40 MiB"));
  CHECK_THROWS_WITH(machine.load(arm64_image({.image_size = 31 * kMiB})), Contains("the device tree needs memory"));
  CHECK_THROWS_WITH(machine.load(arm64_image(), std::string(27 * kMiB, 'i')), Contains("the initrd needs memory"));
}

TEST_CASE("arm64 image: a command line that is too long is refused", "[firmware][image]") {
  Machine machine;
  machine.platform.command_line = std::string(2048, 'x');
  CHECK_THROWS_WITH(machine.load(arm64_image()), Contains("takes at most 2047"));
}

TEST_CASE("arm64 image: what cannot run is refused with its reason", "[firmware][image]") {
  const auto refusal = [](const std::string& file) -> std::string {
    try {
      parse(file);
    } catch (const Error& error) {
      return error.what();
    }
    return "taken";
  };
  CHECK_THAT(refusal(arm64_image({.flags = 1})), Contains("big-endian"));
  CHECK_THAT(refusal(arm64_image({.image_size = 0})), Contains("before Linux 3.17"));
  CHECK_THAT(refusal(arm64_image({.image_size = 1000})), Contains("does not fit"));
  CHECK_THAT(refusal(arm64_image({.image_size = uint64_t{1} << 60})), Contains("does not fit"));
  CHECK_THAT(refusal(arm64_image({.text_offset = 3 * kMiB})), Contains("text_offset"));
  CHECK_THAT(refusal(arm64_image({.magic = 0})), Contains("no arm64 Image"));
  CHECK_THAT(refusal(gzip("a text")), Contains("what is compressed in it"));
  CHECK_THAT(refusal(gzip(arm64_image()).substr(0, 1000)), Contains("cannot be decompressed"));
  CHECK_THAT(refusal(zboot("", "gzip", 0xffffffff)), Contains("beyond the end"));
  CHECK_THAT(refusal(std::string("MZ\0\0zimg", 8)), Contains("ends within its header"));
}
