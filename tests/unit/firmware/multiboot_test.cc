// Multiboot: the header, flat images, and what a kernel finds at EBX.
#include "firmware/multiboot.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/layout_x86_64.h"
#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

constexpr uint32_t kLoad = 0x200000;

std::string elf(uint32_t flags = 0) {
  return ElfBuilder(32).entry(kMiB + 12).load(kMiB, multiboot_header(flags) + "code", 0x3210).build();
}
std::string flat(MultibootHeader header = {.load_addr = kLoad}) { return flat_multiboot(header, "code"); }

std::optional<FoundMultibootHeader> find(const std::string& file) {
  return find_multiboot_header(MemorySource(as_file(file)));
}

// Fields of the Multiboot information, §3.3.
constexpr uint64_t kMemLower = 4, kMemUpper = 8, kCommandLineField = 16, kModsCount = 20, kModsAddress = 24;
constexpr uint64_t kMapLength = 44, kMapAddress = 48, kLoaderName = 64;

}  // namespace

TEST_CASE("multiboot: the CPU starts in 32-bit mode with magic and information", "[firmware][multiboot]") {
  Boot boot;
  const CpuEntry entry = boot.load(elf());
  CHECK(entry.mode == CpuEntry::Mode::kProtected32);
  CHECK(entry.rip == kMiB + 12);
  CHECK(entry.rax == 0x2badb002);
  CHECK(boot.at<uint32_t>(entry.rbx) == 0x24d);
  CHECK(boot.text(boot.at<uint32_t>(entry.rbx + kLoaderName)) == "vmm");
}

TEST_CASE("multiboot: the command line begins with the kernel's name", "[firmware][multiboot]") {
  Boot boot;
  boot.platform.command_line = "smp 4";
  const CpuEntry entry = boot.load(elf());
  CHECK(boot.text(boot.at<uint32_t>(entry.rbx + kCommandLineField)) == "kernel smp 4");
}

TEST_CASE("multiboot: a command line with its name fills the area, and no more", "[firmware][multiboot]") {
  Boot boot;
  boot.platform.command_line = std::string(0xffff - 7, 'x');
  CHECK_NOTHROW(boot.load(elf()));
  boot.platform.command_line += 'x';
  CHECK_THROWS_WITH(boot.load(elf()), Contains("has 65536 bytes"));
}

TEST_CASE("multiboot: memory sizes are those below 640 KiB and from 1 MiB to the first hole", "[firmware][multiboot]") {
  Boot boot(4 * kGiB);
  const CpuEntry entry = boot.load(elf());
  CHECK(boot.at<uint32_t>(entry.rbx + kMemLower) == 639);
  CHECK(boot.at<uint32_t>(entry.rbx + kMemUpper) == 3 * kMiB - 1024);
}

TEST_CASE("multiboot: the memory map is a list whose entries tell their size", "[firmware][multiboot]") {
  Boot boot;
  const CpuEntry entry = boot.load(elf());
  const uint64_t map = boot.at<uint32_t>(entry.rbx + kMapAddress);
  CHECK(boot.at<uint32_t>(entry.rbx + kMapLength) == 4 * 24);
  CHECK(boot.at<uint32_t>(map) == 20);
  CHECK(boot.at<uint64_t>(map + 2 * 24 + 4) == kMiB);
  CHECK(boot.at<uint64_t>(map + 2 * 24 + 12) == 63 * kMiB);
  CHECK(boot.at<uint32_t>(map + 2 * 24 + 20) == 1);
}

TEST_CASE("multiboot: the initrd is the one module, on the page after the kernel", "[firmware][multiboot]") {
  Boot boot;
  const CpuEntry entry = boot.load(elf(), "module");
  CHECK(boot.at<uint32_t>(entry.rbx + kModsCount) == 1);
  const uint64_t module = boot.at<uint32_t>(entry.rbx + kModsAddress);
  CHECK(boot.at<uint32_t>(module) == kMiB + 0x4000);
  CHECK(boot.at<uint32_t>(module + 4) == kMiB + 0x4006);
  CHECK(boot.bytes(kMiB + 0x4000, 6) == "module");
}

TEST_CASE("multiboot: the module of a kernel in low memory lies at 1 MiB", "[firmware][multiboot]") {
  Boot boot;
  const auto file = ElfBuilder(32).entry(0x400c).load(0x4000, multiboot_header() + "code").build();
  const CpuEntry entry = boot.load(file, "module");
  CHECK(entry.rip == 0x400c);
  CHECK(boot.at<uint32_t>(boot.at<uint32_t>(entry.rbx + kModsAddress)) == kMiB);
}

TEST_CASE("multiboot: any number of modules, each with its arguments", "[firmware][multiboot]") {
  Boot boot;
  std::vector<std::string> contents, texts;
  for (int i = 0; i < 300; ++i) {
    contents.push_back("module " + std::to_string(i) + std::string(size_t(i) * 40, '.'));
    texts.push_back("mod" + std::to_string(i) + " first second=" + std::to_string(i));
  }
  std::vector<MemorySource> sources;
  for (const std::string& content : contents) sources.emplace_back(as_file(content));
  std::vector<BootModule> modules;
  for (size_t i = 0; i < sources.size(); ++i) modules.push_back({&sources[i], texts[i]});
  const CpuEntry entry = boot.load_with(elf(), modules);
  CHECK(boot.at<uint32_t>(entry.rbx + kModsCount) == modules.size());
  const uint64_t list = boot.at<uint32_t>(entry.rbx + kModsAddress);
  uint64_t end = kMiB;
  for (size_t i = 0; i < modules.size(); ++i) {
    const uint64_t start = boot.at<uint32_t>(list + i * 16);
    CHECK(start >= end);
    CHECK(start % 4096 == 0);
    end = boot.at<uint32_t>(list + i * 16 + 4);
    CHECK(boot.bytes(start, end - start) == contents[i]);
    CHECK(boot.text(boot.at<uint32_t>(list + i * 16 + 8)) == texts[i]);
  }
  CHECK(list >= end);
}

TEST_CASE("multiboot: modules that leave no room for their list are refused", "[firmware][multiboot]") {
  Boot boot(4 * kMiB);
  const std::string content(3 * kMiB - 0x5000, 'm'), texts(8192, 't');
  const MemorySource source(as_file(content));
  const BootModule module{&source, texts};
  CHECK_THROWS_WITH(boot.load_with(elf(), std::span(&module, 1)), Contains("the list of its modules needs memory"));
}

TEST_CASE("multiboot: without an initrd there are no modules", "[firmware][multiboot]") {
  Boot boot;
  CHECK(boot.at<uint32_t>(boot.load(elf()).rbx + kModsCount) == 0);
}

TEST_CASE("multiboot: page alignment and memory information are granted", "[firmware][multiboot]") {
  CHECK(inspect(elf(3)).warnings.empty());
}

TEST_CASE("multiboot: a wish for a video mode is a warning", "[firmware][multiboot]") {
  CHECK(inspect(elf(4)).warnings.size() == 1);
}

TEST_CASE("multiboot: unknown demands are refused, unknown wishes are not", "[firmware][multiboot]") {
  const auto demand = GENERATE(8u, 0x8000u);
  CHECK_THROWS_WITH(inspect(elf(demand)), Contains("not known here"));
  CHECK_NOTHROW(inspect(elf(0x80000000)));
}

TEST_CASE("multiboot: the header is found in the first 8 KiB at multiples of four", "[firmware][multiboot]") {
  CHECK(find(std::string(8192 - 12, '.') + multiboot_header())->offset == 8192 - 12);
  CHECK_FALSE(find(std::string(8192 - 8, '.') + multiboot_header()));
  CHECK_FALSE(find("..." + multiboot_header()));
}

TEST_CASE("multiboot: a header with address fields has them within the first 8 KiB", "[firmware][multiboot]") {
  CHECK(find(std::string(8192 - 32, '.') + flat()));
  CHECK_FALSE(find(std::string(8192 - 28, '.') + flat()));
}

TEST_CASE("multiboot: a wrong checksum is no header", "[firmware][multiboot]") {
  std::string header = multiboot_header();
  header[8] = static_cast<char>(header[8] + 1);
  CHECK_FALSE(find(header));
}

TEST_CASE("multiboot: a flat image is loaded from its load address on", "[firmware][multiboot]") {
  Boot boot;
  CHECK(boot.load(flat()).rip == kLoad + 32);
  CHECK(boot.bytes(kLoad + 32, 4) == "code");
}

TEST_CASE("multiboot: a flat image may lie behind something else in its file", "[firmware][multiboot]") {
  Boot boot;
  boot.load("skip" + flat_multiboot({.header_addr = kLoad + 4, .load_addr = kLoad, .entry_addr = kLoad + 36}, "code"));
  CHECK(boot.bytes(kLoad, 4) == "skip");
  CHECK(boot.bytes(kLoad + 36, 4) == "code");
}

TEST_CASE("multiboot: load_end_addr bounds the image, and bss_end_addr zeroes beyond it", "[firmware][multiboot]") {
  Boot boot;
  boot.memory.slice({kLoad}, 64)->fill(std::byte{0xee});
  boot.load(flat({.load_addr = kLoad, .load_end_addr = kLoad + 34, .bss_end_addr = kLoad + 40, .entry_addr = kLoad}));
  CHECK(boot.bytes(kLoad + 32, 9) == std::string("co\0\0\0\0\0\0\xee", 9));
}

TEST_CASE("multiboot: addresses of a header in an ELF file go before its program headers", "[firmware][multiboot]") {
  Boot boot;
  const auto header = flat_multiboot({.header_addr = kLoad, .load_addr = kLoad, .entry_addr = kLoad + 32}, "code");
  CHECK(boot.load(ElfBuilder(32).entry(kMiB).load(kMiB, header).build()).rip == kLoad + 32);
  CHECK(boot.bytes(kLoad + 32, 4) == "code");
}

TEST_CASE("multiboot: addresses that contradict each other are refused", "[firmware][multiboot]") {
  const MultibootHeader header =
      GENERATE(MultibootHeader{.header_addr = kLoad - 4, .load_addr = kLoad},
               MultibootHeader{.header_addr = kLoad + 4, .load_addr = kLoad},
               MultibootHeader{.load_addr = kLoad, .load_end_addr = kLoad - 1},
               MultibootHeader{.load_addr = kLoad, .load_end_addr = kLoad + 37},
               MultibootHeader{.load_addr = kLoad, .bss_end_addr = kLoad - 1},
               MultibootHeader{.load_addr = kLoad, .entry_addr = kLoad + 36}, MultibootHeader{.load_addr = 0x90000},
               MultibootHeader{.load_addr = 0xfffffff0});
  CHECK_THROWS_AS(inspect(flat(header)), Error);
}
