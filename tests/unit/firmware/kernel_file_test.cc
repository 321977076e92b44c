// Kernel files: which kind a file is, and what is said when it cannot be had.
#include "firmware/kernel_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "tests/support/boot_fixture.h"
#include "tests/support/compress.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

std::string row(const KernelFile& kernel, const std::string& label) {
  const auto rows = kernel.describe();
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& each) { return each.first == label; });
  return found == rows.end() ? "missing" : found->second;
}

}  // namespace

TEST_CASE("kernel file: the kind is told by content", "[firmware][kernel]") {
  CHECK(inspect(bzimage()).kind == KernelKind::kBzImage);
  CHECK(inspect(ElfBuilder(64).note(pvh_note(kMiB)).load(kMiB, "code").build()).kind == KernelKind::kPvh);
  CHECK(inspect(flat_multiboot({.load_addr = kMiB}, "code")).kind == KernelKind::kMultiboot);
}

TEST_CASE("kernel file: a refusal names file and reason", "[firmware][kernel]") {
  CHECK_THROWS_WITH(inspect("junk"), Contains("'kernel' is not a bootable kernel: no 'HdrS'"));
}

TEST_CASE("kernel file: a Multiboot header without addresses needs a container", "[firmware][kernel]") {
  CHECK_THROWS_WITH(inspect(multiboot_header() + "code"), Contains("not a bootable kernel"));
}

TEST_CASE("kernel file: one that was compressed as a whole boots as it is", "[firmware][kernel]") {
  const auto pack = GENERATE(as<std::string (*)(std::string_view)>(), gzip, zstd, bzip2);
  const std::string plain = flat_multiboot({.flags = 4, .load_addr = kMiB}, "code");
  const std::string file = pack(plain);
  CHECK(inspect(file).kind == KernelKind::kMultiboot);
  CHECK_THAT(inspect(file).summary, Contains(", flat image, entry 0x100020"));
  Boot boot;
  CHECK(boot.load(file).rip == kMiB + sizeof(MultibootHeader));
  CHECK(boot.bytes(kMiB, plain.size()) == plain);
  CHECK_THAT(row(KernelFile::from_bytes(as_file(file), "kernel"), "warning"), Contains("video mode"));
}

TEST_CASE("kernel file: what is in a compressed file that is no kernel is named", "[firmware][kernel]") {
  CHECK_THROWS_WITH(inspect(gzip("070701")), Contains("inside the gzip file: ") && Contains("an initramfs"));
  CHECK_THROWS_WITH(inspect(gzip(gzip(bzimage()))), Contains("inside the gzip file: ") && Contains("1f 8b gzip file"));
  CHECK_THROWS_WITH(inspect(gzip(bzimage()).substr(0, 100)), Contains("inside the gzip file: "));
}

TEST_CASE("kernel file: one that is not there is said so", "[firmware][kernel]") {
  const TempDirectory temp;
  CHECK_THROWS_WITH(KernelFile::open(temp("none")), Contains("cannot open kernel") && Contains("No such file"));
}

TEST_CASE("kernel file: directories, devices and pipes without a writer are refused at once", "[firmware][kernel]") {
  const TempDirectory temp;
  REQUIRE(::mkfifo(temp("fifo").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(KernelFile::open(temp("fifo")), Contains("a pipe"));
  CHECK_THROWS_WITH(KernelFile::open(temp("")), Contains("a directory"));
  CHECK_THROWS_WITH(KernelFile::open("/dev/zero"), Contains("a character device"));
}

TEST_CASE("kernel file: one that shrinks between looking and loading is an error", "[firmware][kernel]") {
  const TempDirectory temp;
  const std::string path = temp.file("bzImage", bzimage());
  const KernelFile kernel = KernelFile::open(path);
  REQUIRE(::truncate(path.c_str(), kBzImageSetup + 100) == 0);
  const Boot boot;
  CHECK_THROWS_WITH(kernel.load(boot.memory, boot.platform, {}), Contains("became shorter"));
}

TEST_CASE("kernel file: it can be loaded again after its name is gone", "[firmware][kernel]") {
  const TempDirectory temp;
  const std::string path = temp.file("bzImage", bzimage());
  const KernelFile kernel = KernelFile::open(path);
  REQUIRE(::unlink(path.c_str()) == 0);
  const Boot boot;
  const auto first = std::get<CpuEntry>(kernel.load(boot.memory, boot.platform, {}));
  boot.memory.slice({kBzImagePreferred}, 64)->fill(std::byte{0});
  CHECK(std::get<CpuEntry>(kernel.load(boot.memory, boot.platform, {})).rip == first.rip);
  CHECK(boot.bytes(kBzImagePreferred, 4) == "KKKK");
}

TEST_CASE("kernel file: an empty initrd is refused", "[firmware][kernel]") {
  const MemorySource empty({});
  const BootModule module{&empty, "i.cpio"};
  CHECK_THROWS_WITH(Boot().load_with(bzimage(), std::span(&module, 1)),
                    Contains("cannot boot 'kernel': the initrd 'i.cpio' is empty"));
}

TEST_CASE("kernel file: a machine smaller than its firmware is an error", "[firmware][kernel]") {
  Boot boot(512 << 10);
  CHECK_THROWS_AS(boot.load(ElfBuilder(32).entry(12).load(0, multiboot_header(), 64).build()), Error);
}

TEST_CASE("kernel file: inspect shows kind, protocol and entry", "[firmware][kernel]") {
  const std::string file = bzimage();
  const KernelFile kernel = KernelFile::from_bytes(as_file(file), "kernel");
  CHECK(row(kernel, "kind") == "bzImage");
  CHECK(row(kernel, "boot protocol") == "2.15");
  CHECK(row(kernel, "entry point") == "0x1000200 (64-bit)");
  CHECK(row(kernel, "command line") == "at most 2047 bytes");
}

TEST_CASE("kernel file: inspect shows a Multiboot kernel's warnings", "[firmware][kernel]") {
  const std::string file = flat_multiboot({.flags = 4, .load_addr = kMiB}, "code");
  const KernelFile kernel = KernelFile::from_bytes(as_file(file), "kernel");
  CHECK(row(kernel, "64-bit entry") == "no");
  CHECK_THAT(row(kernel, "warning"), Contains("video mode"));
}
