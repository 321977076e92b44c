// Vmcores as files: what is in them, what is a hole, and that nothing is left of one that could not be written.
#include "vmm/blackbox/vmcore_writer.h"

#include <elf.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "tests/support/temp_file.h"
#include "vmm/blackbox/vmcore_notes.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

const std::atomic<bool> kGoOn{false};
constexpr uint64_t kHigh = 0x100000000;
const GuestMemory::Range kRanges[] = {{{0}, 0x800000}, {{kHigh}, 0x400000}};

template <typename T>
T at(const std::string& file, uint64_t offset) {
  T value;
  REQUIRE(offset + sizeof value <= file.size());
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

std::string read_all(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

size_t files_in(const TempDirectory& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

struct Fixture {
  Fixture() : memory(kRanges), cpus(2) {}
  void write(const std::string& path) const {
    write_vmcore(
        path, {.memory = memory, .cpus = cpus, .vmcoreinfo = "OSRELEASE=1\n", .direct_map = 0xffff888000000000}, kGoOn);
  }

  TempDirectory folder;
  GuestMemory memory;
  std::vector<CpuState> cpus;
};

}  // namespace

TEST_CASE("vmcore writer: headers lead to the notes and to every range of RAM", "[vmcore]") {
  Fixture f;
  f.memory.write_value(GuestAddress{0x3008}, uint32_t{0xdecade});
  f.memory.write_value(GuestAddress{kHigh + 0x3ff000}, uint32_t{0xfacade});
  f.write(f.folder("core"));
  const std::string file = read_all(f.folder("core"));

  const auto header = at<Elf64_Ehdr>(file, 0);
  CHECK(file.starts_with(ELFMAG));
  CHECK(header.e_type == ET_CORE);
  CHECK(header.e_machine == EM_X86_64);
  REQUIRE(header.e_phnum == 3);
  const auto notes = at<Elf64_Phdr>(file, header.e_phoff);
  CHECK(notes.p_type == PT_NOTE);
  std::string names;
  for_each_note(std::as_bytes(std::span(file)).subspan(notes.p_offset, notes.p_filesz),
                [&](const Note& note) { names += std::string(note.name) + " "; });
  CHECK(names == "CORE CORE QEMU QEMU VMCOREINFO ");

  const auto low = at<Elf64_Phdr>(file, header.e_phoff + sizeof(Elf64_Phdr));
  const auto high = at<Elf64_Phdr>(file, header.e_phoff + 2 * sizeof(Elf64_Phdr));
  CHECK(low.p_type == PT_LOAD);
  CHECK(low.p_paddr == 0);
  CHECK(low.p_vaddr == 0xffff888000000000);
  CHECK(low.p_filesz == 0x800000);
  CHECK(low.p_memsz == 0x800000);
  CHECK(low.p_offset % 4096 == 0);
  CHECK(low.p_align == 0);  // else `crash` takes it for a netdump
  CHECK(high.p_paddr == kHigh);
  CHECK(high.p_vaddr == 0xffff888000000000 + kHigh);
  CHECK(at<uint32_t>(file, low.p_offset + 0x3008) == 0xdecade);
  CHECK(at<uint32_t>(file, high.p_offset + 0x3ff000) == 0xfacade);
  CHECK(file.size() == high.p_offset + high.p_filesz);
}

TEST_CASE("vmcore writer: the kernel's image is a part of RAM, under its own addresses", "[vmcore]") {
  const Fixture f;
  const auto head_with = [&f](const Mapping& image) {
    const auto head = vmcore_head({.memory = f.memory, .cpus = {}, .image = image});
    return std::string(reinterpret_cast<const char*>(head.data()), head.size());
  };
  const std::string head = head_with({0xffffffff81000000, {kHigh + 0x1000}, 0x2000});
  const auto image = at<Elf64_Phdr>(head, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr));
  const auto high = at<Elf64_Phdr>(head, sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr));
  CHECK(image.p_vaddr == 0xffffffff81000000);
  CHECK(image.p_paddr == kHigh + 0x1000);
  CHECK(image.p_filesz == 0x2000);
  CHECK(image.p_offset == high.p_offset + 0x1000);
  // What the guest says of it is not believed where it is not RAM.
  const std::string longer = head_with({0xffffffff81000000, {kHigh + 0x3ff000}, ~uint64_t{0}});
  CHECK(at<Elf64_Phdr>(longer, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr)).p_filesz == 0x1000);
  CHECK(at<Elf64_Ehdr>(head_with({0xffffffff81000000, {kHigh - 1}, 0x1000}), 0).e_phnum == 3);
}

TEST_CASE("vmcore writer: all of memory is what it was, beyond the size of any buffer", "[vmcore]") {
  Fixture f;
  std::vector<std::byte> bytes(0x380123);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / 4096 % 5 * i % 251);
  REQUIRE(f.memory.write(GuestAddress{0x1fff}, bytes));
  f.write(f.folder("core"));
  const std::string file = read_all(f.folder("core"));
  const auto low = at<Elf64_Phdr>(file, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr));
  std::vector<std::byte> memory(0x800000);
  REQUIRE(f.memory.read(GuestAddress{0}, memory));
  CHECK(std::memcmp(memory.data(), file.data() + low.p_offset, memory.size()) == 0);
}

TEST_CASE("vmcore writer: pages of zeroes are holes, touched or not", "[vmcore]") {
  Fixture f;
  std::vector<std::byte> zeroes(0x400000);
  REQUIRE(f.memory.write(GuestAddress{0x100000}, zeroes));
  f.memory.write_value(GuestAddress{0x200ffc}, uint32_t{1});
  f.write(f.folder("core"));
  struct stat status {};
  REQUIRE(::stat(f.folder("core").c_str(), &status) == 0);
  CHECK(status.st_size > 0xc00000);
  CHECK(status.st_blocks * 512 <= 64 << 10);
}

TEST_CASE("vmcore writer: the file is the user's alone, replaces one at once and leaves no other", "[vmcore]") {
  Fixture f;
  f.folder.file("core", "old");
  f.write(f.folder("core"));
  struct stat status {};
  REQUIRE(::stat(f.folder("core").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(read_all(f.folder("core")).starts_with(ELFMAG));
  CHECK(files_in(f.folder) == 1);
}

TEST_CASE("vmcore writer: without a kernel there are no notes of one, and addresses are physical ones", "[vmcore]") {
  const Fixture f;
  const std::vector<std::byte> head = vmcore_head({.memory = f.memory, .cpus = {}});
  const std::string text(reinterpret_cast<const char*>(head.data()), head.size());
  CHECK(at<Elf64_Phdr>(text, sizeof(Elf64_Ehdr)).p_filesz == 0);
  CHECK(at<Elf64_Phdr>(text, sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr)).p_vaddr == kHigh);
}

TEST_CASE("vmcore writer: one that is given up, or that there is no room for, leaves what was there", "[vmcore]") {
  Fixture f;
  f.memory.write_value(GuestAddress{0x1000}, uint32_t{1});
  f.folder.file("core", "old");
  const std::atomic<bool> give_up{true};
  for (const char* name : {"core", "core.zst"}) {
    CHECK_THROWS_WITH(write_vmcore(f.folder(name), {.memory = f.memory, .cpus = f.cpus}, give_up),
                      Contains("given up"));
  }

  // The limit would stay: in a child.
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{0x100000, 0x100000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      f.write(f.folder("core"));
    } catch (const Error& error) {
      ::_exit(std::string_view(error.what()).ends_with("core': File too large") && !error.fix().empty() ? 5 : 1);
    }
    ::_exit(2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 5);
  CHECK(read_all(f.folder("core")) == "old");
  CHECK(files_in(f.folder) == 1);
}

TEST_CASE("vmcore writer: a place that cannot have one is refused before anything is done", "[vmcore]") {
  const TempDirectory folder;
  CHECK_NOTHROW(check_vmcore_path(folder("core")));
  CHECK_NOTHROW(check_vmcore_path("core"));
  CHECK_THROWS_WITH(check_vmcore_path(folder("none/core")), Contains("No such file or directory"));
  CHECK_THROWS_WITH(check_vmcore_path(folder.path()), Contains("it is no file"));
  CHECK(files_in(folder) == 0);
  CHECK_THROWS_WITH(check_vmcore_path("/dev/null"), Contains("it is no file"));
  CHECK_THROWS_WITH(check_vmcore_path(""), Contains("No such file"));
  CHECK_NOTHROW(check_vmcore_path("core.zst"));
  CHECK_THROWS_WITH(check_vmcore_path("core.gz"), Contains("compressed with zstd"));
}

TEST_CASE("vmcore writer: by its name a vmcore is compressed, and unpacks to what it would be otherwise", "[vmcore]") {
  Fixture f;
  std::vector<std::byte> bytes(0x180123);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / 4096 % 5 * i % 251);
  REQUIRE(f.memory.write(GuestAddress{0x201fff}, bytes));
  f.memory.write_value(GuestAddress{kHigh + 0x3ffff8}, uint64_t{1});
  f.write(f.folder("core"));
  f.write(f.folder("core.zst"));
  CHECK(std::filesystem::file_size(f.folder("core.zst")) < 1 << 20);
  const std::string plain = read_all(f.folder("core"));
  const std::string compressed = read_all(f.folder("core.zst"));
  std::string unpacked(plain.size() + 1, '?');
  unpacked.resize(::ZSTD_decompress(unpacked.data(), unpacked.size(), compressed.data(), compressed.size()));
  CHECK(unpacked == plain);
}

TEST_CASE("vmcore writer: memory that was never used costs a compressed vmcore next to nothing", "[vmcore]") {
  const TempDirectory folder;
  constexpr GuestMemory::Range kMuch[] = {{{0}, uint64_t{8} << 30}};
  const GuestMemory memory(kMuch);
  write_vmcore(folder("core.zst"), {.memory = memory, .cpus = {}}, kGoOn);
  CHECK(std::filesystem::file_size(folder("core.zst")) < 2 << 20);
}
