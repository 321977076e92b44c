// Vmcores read: those of ours, those of others, and files that are none.
#include "vmm/blackbox/vmcore.h"

#include <elf.h>
#include <sys/stat.h>
#include <zstd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

#include "tests/support/linux_memory.h"
#include "tests/support/temp_file.h"
#include "vmm/blackbox/black_box.h"
#include "vmm/blackbox/vmcore_notes.h"
#include "vmm/blackbox/vmcore_writer.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

const std::atomic<bool> kGoOn{false};

std::string refusal(const std::string& path) {
  try {
    const Vmcore core(path);
  } catch (const Error& error) {
    CHECK_FALSE(error.fix().empty());
    return error.what();
  }
  return "none";
}

std::vector<uint64_t> pages_of(const PhysicalMemory& memory) {
  std::vector<uint64_t> pages;
  memory.for_each_touched_page([&](GuestAddress page) {
    pages.push_back(page.value);
    return true;
  });
  return pages;
}

// A core file of parts, as others may write it.
struct Core {
  Core() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_CORE;
    header.e_machine = EM_X86_64;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
  }
  void load(uint64_t paddr, const std::string& content, uint64_t size = 0) {
    parts.push_back({.p_type = PT_LOAD,
                     .p_offset = kContent + contents.size(),
                     .p_paddr = paddr,
                     .p_filesz = content.size(),
                     .p_memsz = std::max<uint64_t>(size, content.size())});
    contents += content;
  }
  std::string text() {
    header.e_phnum = static_cast<uint16_t>(parts.size());
    std::string file(reinterpret_cast<const char*>(&header), sizeof header);
    file.append(reinterpret_cast<const char*>(parts.data()), parts.size() * sizeof(Elf64_Phdr));
    file.resize(kContent);
    return file + contents;
  }

  static constexpr size_t kContent = 1000;  // makedumpfile does not align either
  Elf64_Ehdr header{};
  std::vector<Elf64_Phdr> parts;
  std::string contents;
};

struct Crashed : LinuxMemory {
  Crashed() {
    add_code("panic", 0x1000);
    log(1, 0, "Kernel panic - not syncing: for a test");
    write();
    put(kCode + 0x100f, uint8_t{0xf4});
    cpus = {cpu(0x1010, kStackEnd - 32), cpu(0x1020, kStackEnd - 64)};
  }
  void dump(const std::string& path, std::string_view vmcoreinfo) const {
    write_vmcore(path, {.memory = memory, .cpus = cpus, .vmcoreinfo = vmcoreinfo}, kGoOn);
  }
  std::vector<CpuState> cpus;
};

}  // namespace

TEST_CASE("vmcore: memory, registers and the kernel's text come back", "[vmcore]") {
  const TempDirectory folder;
  const std::string path = folder(GENERATE("core", "core.zst"));
  const Crashed linux;
  linux.dump(path, linux.info_text());
  const Vmcore core(path);
  CHECK(core.vmcoreinfo() == linux.info_text());
  REQUIRE(core.cpus().size() == 2);
  CHECK(core.cpus()[1].id == 1);
  CHECK(core.cpus()[1].pc() == linux.cpus[1].pc());
  CHECK(core.cpus()[0].activity == CpuState::Activity::kHalted);
  CHECK(core.cpus()[1].activity == CpuState::Activity::kRunning);
  std::vector<std::byte> memory(LinuxMemory::kRam), again(LinuxMemory::kRam);
  REQUIRE(linux.memory.read(GuestAddress{0}, memory));
  REQUIRE(core.read(GuestAddress{0}, again));
  CHECK(memory == again);
  CHECK_FALSE(core.read<std::byte>(GuestAddress{LinuxMemory::kRam}));
  CHECK_FALSE(core.read<uint64_t>(GuestAddress{LinuxMemory::kRam - 7}));
}

TEST_CASE("vmcore: the black box finds in it what it found in the machine", "[vmcore]") {
  const TempDirectory folder;
  const Crashed linux;
  // Without the note it is looked for, as in a dump of QEMU's.
  const std::string note = GENERATE(true, false) ? linux.info_text() : std::string();
  const std::string path = folder(GENERATE("core", "core.zst"));
  linux.dump(path, note);
  const Vmcore core(path);
  const BlackBox box(core, core.cpus(), core.vmcoreinfo());
  CHECK(box.release() == "6.1.0-1-test");
  REQUIRE(box.log().lines.size() == 1);
  CHECK(box.log().lines[0].text == "Kernel panic - not syncing: for a test");
  CHECK(box.stack(core.cpus()[0])[0].symbol == "panic");
}

TEST_CASE("vmcore: one that others compressed is refused with the line that unpacks it", "[vmcore]") {
  const TempDirectory folder;
  std::string stream(64, '\0');
  stream.resize(::ZSTD_compress(stream.data(), stream.size(), "text", 4, 1));
  try {
    const Vmcore core(folder.file("core.zst", stream));
    FAIL("it was read");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), Contains("compressed without the table"));
    CHECK(error.fix() == "zstd -d '" + folder("core.zst") + "' -o '" + folder("core") + "'");
  }
}

TEST_CASE("vmcore: a note that does not agree with memory is not believed", "[vmcore]") {
  const TempDirectory folder;
  const Crashed linux;
  linux.dump(folder("core"), "OSRELEASE=7.0\n");
  const Vmcore core(folder("core"));
  CHECK(BlackBox(core, core.cpus(), core.vmcoreinfo()).release() == "6.1.0-1-test");
}

TEST_CASE("vmcore: parts in any order are one memory, with zeroes where they are shorter in the file", "[vmcore]") {
  const TempDirectory folder;
  Core made;
  made.load(0x3000, std::string(0x1000, 'c'), 0x2000);
  made.load(0x1000, std::string(0x2000, 'a'));
  const Vmcore core(folder.file("core", made.text()));
  CHECK(core.read<char>(GuestAddress{0x2fff}) == 'a');
  CHECK(core.read<uint32_t>(GuestAddress{0x2ffe}) == 0x63636161);
  CHECK(core.read<uint16_t>(GuestAddress{0x3fff}) == 0x0063);
  CHECK(core.read<char>(GuestAddress{0x4fff}) == 0);
  CHECK_FALSE(core.read<char>(GuestAddress{0x5000}));
  CHECK_FALSE(core.read<char>(GuestAddress{0xfff}));
  CHECK(pages_of(core) == std::vector<uint64_t>{0x1000, 0x2000, 0x3000});
}

TEST_CASE("vmcore: of memory that is there twice the first counts, and the kernel's image is no more of it",
          "[vmcore]") {
  const TempDirectory folder;
  Core made;
  made.load(0x1000, std::string(0x2000, 'a'));
  made.load(0x2000, std::string(0x2000, 'b'));
  made.load(0, std::string(0x1000, 'k'));
  made.parts.back().p_vaddr = 0xffffffff81000000;
  const Vmcore core(folder.file("core", made.text()));
  CHECK(core.read<char>(GuestAddress{0x2000}) == 'a');
  CHECK(core.read<char>(GuestAddress{0x3000}) == 'b');
  CHECK_FALSE(core.read<char>(GuestAddress{0}));
  CHECK(pages_of(core) == std::vector<uint64_t>{0x1000, 0x2000, 0x3000});
}

TEST_CASE("vmcore: holes are not looked at", "[vmcore]") {
  const TempDirectory folder;
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, uint64_t{1} << 30}});
  memory.write_value(GuestAddress{0x20000000}, uint32_t{1});
  write_vmcore(folder("core"), {.memory = memory, .cpus = {}}, kGoOn);
  const std::vector<uint64_t> pages = pages_of(Vmcore(folder("core")));
  CHECK(std::ranges::find(pages, 0x20000000) != pages.end());
  CHECK(pages.size() <= 64);
}

TEST_CASE("vmcore: what a file lost at its end is not there", "[vmcore]") {
  const TempDirectory folder;
  const Crashed linux;
  linux.dump(folder("core"), linux.info_text());
  const auto whole = std::filesystem::file_size(folder("core"));
  std::filesystem::resize_file(folder("core"), whole - 0x1000);
  const Vmcore core(folder("core"));
  CHECK(core.read<char>(GuestAddress{LinuxMemory::kRam - 0x1001}));
  CHECK_FALSE(core.read<char>(GuestAddress{LinuxMemory::kRam - 0x1000}));
  // Nor is what it loses while it is read.
  std::filesystem::resize_file(folder("core"), whole - 0x2000);
  CHECK_FALSE(core.read<char>(GuestAddress{LinuxMemory::kRam - 0x1001}));
}

TEST_CASE("vmcore: headers that claim the same piece of the file again and again come to an end", "[vmcore]") {
  const TempDirectory folder;
  Core made;
  made.load(0, std::string(0x10000, 'a'));
  for (uint64_t i = 1; i < 16; ++i) {
    made.parts.push_back(made.parts.front());
    made.parts.back().p_paddr = i << 32;
  }
  CHECK(pages_of(Vmcore(folder.file("core", made.text()))).size() <= 64);
}

TEST_CASE("vmcore: addresses and sizes that wrap around are passed over", "[vmcore]") {
  const TempDirectory folder;
  Core made;
  made.load(0x1000, "abc");
  made.parts.push_back({.p_type = PT_LOAD, .p_paddr = ~uint64_t{0} - 1, .p_filesz = 10, .p_memsz = 10});
  made.parts.push_back(
      {.p_type = PT_LOAD, .p_offset = ~uint64_t{0}, .p_paddr = 1 << 20, .p_filesz = ~uint64_t{0} >> 1});
  made.parts.push_back({.p_type = PT_NOTE, .p_offset = ~uint64_t{0}, .p_filesz = ~uint64_t{0}});
  const Vmcore core(folder.file("core", made.text()));
  CHECK(core.read<char>(GuestAddress{0x1002}) == 'c');
  CHECK_FALSE(core.read<char>(GuestAddress{1 << 20}));
  CHECK_FALSE(core.read<char>(GuestAddress{~uint64_t{0}}));
}

TEST_CASE("vmcore: what is none is refused with why", "[vmcore]") {
  const TempDirectory folder;
  CHECK_THAT(refusal(folder("none")), Contains("No such file"));
  CHECK_THAT(refusal(folder.path()), Contains("it is no file"));
  CHECK_THAT(refusal("/dev/null"), Contains("it is no file"));
  CHECK_THAT(refusal(folder.file("a", "text")), Contains("too short"));
  CHECK_THAT(refusal(folder.file("b", std::string(100, 'x'))), Contains("no ELF"));
  CHECK_THAT(refusal(folder.file("c", "KDUMP   " + std::string(100, 'x'))), Contains("compressed"));
  CHECK_THAT(refusal(folder.file("d", "makedumpfile" + std::string(100, 'x'))), Contains("flattened"));
  Core made;
  CHECK_THAT(refusal(folder.file("e", made.text())), Contains("no memory"));
  made.load(0, "abc");
  CHECK_THAT(refusal(folder.file("f", made.text().substr(0, 100))), Contains("within its headers"));
  made.header.e_phentsize = 1;
  CHECK_THAT(refusal(folder.file("g", made.text())), Contains("foreign kind"));
  made.header.e_type = ET_EXEC;
  CHECK_THAT(refusal(folder.file("h", made.text())), Contains("no core"));
  made.header.e_machine = EM_ARM;
  CHECK_THAT(refusal(folder.file("i", made.text())), Contains("neither of an x86-64 nor"));
}

TEST_CASE("vmcore: that of an arm64 machine is read on any host", "[vmcore]") {
  const TempDirectory folder;
  LinuxMemory linux(LinuxMemory::Machine::kArm64);
  linux.add_code("panic", 0x1000);
  linux.log(1, 0, "Kernel panic - not syncing: for a test");
  linux.write();
  const std::vector<CpuState> cpus{linux.cpu(0x1010)};
  const BlackBox live(linux.memory, cpus);
  write_vmcore(folder("core"),
               {.memory = linux.memory, .cpus = cpus, .vmcoreinfo = live.vmcoreinfo(), .direct_map = live.direct_map()},
               kGoOn);
  const Vmcore core(folder("core"));
  REQUIRE(core.cpus().size() == 1);
  REQUIRE(core.cpus()[0].arm64() != nullptr);
  const BlackBox box(core, core.cpus(), core.vmcoreinfo());
  CHECK(box.release() == "6.1.0-1-test");
  REQUIRE(box.log().lines.size() == 1);
  REQUIRE_FALSE(box.stack(core.cpus()[0]).empty());
  CHECK(box.stack(core.cpus()[0])[0].symbol == "panic");
}
