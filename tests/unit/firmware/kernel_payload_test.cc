// What is read out of a vmlinux, plain or inside a bzImage, and what is concluded from it.
#include "firmware/kernel_payload.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/kernel_file.h"
#include "tests/support/boot_fixture.h"
#include "tests/support/compress.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;
using namespace std::string_literals;

namespace {

const std::string kBanner = "\0Linux version 6.1.0-test (builder@host) #1 SMP\n\0"s;

std::string vmlinux(const std::string& content) {
  return ElfBuilder(64).note(pvh_note(kMiB)).load(kMiB, kBanner + content).build();
}
std::string config(const std::string& text) { return "IKCFG_ST" + gzip(text) + "IKCFG_ED"; }

KernelFacts facts_in(const std::string& file) { return facts_of_vmlinux(MemorySource(as_file(file))); }

std::string needs(const std::string& content) { return needs_initrd(facts_in(vmlinux(content))); }

std::string row(const std::string& file, const std::string& label) {
  const auto rows = KernelFile::from_bytes(as_file(file), "kernel").describe();
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& each) { return each.first == label; });
  return found == rows.end() ? "missing" : found->second;
}

const std::string kAllNames = "\0virtio-pci\0virtio_blk\0ext4_inode_cache\0"s;

}  // namespace

TEST_CASE("kernel payload: release and PVH entry are found in every format", "[firmware][payload]") {
  const auto format = GENERATE(from_range(kFormats));
  INFO(format);
  const std::string file = bzimage_of(compressed(format, vmlinux(kAllNames)));
  const KernelFacts facts = KernelFile::from_bytes(as_file(file), "kernel").facts();
  CHECK(facts.release == "6.1.0-test");
  CHECK(facts.pvh_entry == kMiB);
}

TEST_CASE("kernel payload: a vmlinux inside without a PVH note has no PVH entry", "[firmware][payload]") {
  const std::string inner = ElfBuilder(64).load(kMiB, kBanner).build();
  CHECK(row(bzimage_of(gzip(inner)), "PVH entry") == "no");
}

TEST_CASE("kernel payload: a configuration says what is built in", "[firmware][payload]") {
  const KernelFacts facts =
      facts_in(vmlinux(config("CONFIG_BLK_DEV_INITRD=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=m\n"
                              "# CONFIG_EXT4_FS is not set\nCONFIG_XFS_FS=y\n")));
  CHECK(facts.from_config);
  CHECK(facts.takes_initrd);
  CHECK_FALSE(facts.own_initramfs);
  CHECK(facts.built_in == std::vector<std::string_view>{"virtio_pci", "xfs"});
}

TEST_CASE("kernel payload: a configuration goes before names", "[firmware][payload]") {
  CHECK(facts_in(vmlinux(kAllNames + config("CONFIG_VIRTIO_BLK=m\n"))).built_in.empty());
}

TEST_CASE("kernel payload: a damaged configuration is none", "[firmware][payload]") {
  const auto broken = GENERATE("IKCFG_ST\x1f\x8b no gzip IKCFG_ED"s, "IKCFG_ST"s, "IKCFG_STIKCFG_ED"s,
                               config("CONFIG_VIRTIO_BLK=m\n").substr(0, 30));
  const KernelFacts facts = facts_in(vmlinux(kAllNames + broken));
  CHECK_FALSE(facts.from_config);
  CHECK(facts.has("virtio_blk"));
}

TEST_CASE("kernel payload: a configuration that never ends is none", "[firmware][payload]") {
  CHECK_FALSE(facts_in(vmlinux(config(std::string(5 << 20, '\n')))).from_config);
}

TEST_CASE("kernel payload: a built-in driver is known by the prefix of its parameters", "[firmware][payload]") {
  CHECK(facts_in(vmlinux("\0virtio_blk.queue_depth\0"s)).has("virtio_blk"));
  CHECK(facts_in(vmlinux("\0nvme.io_queue_depth\0"s)).has("nvme"));
  CHECK_FALSE(facts_in(vmlinux("\0my_virtio_blk\0virtio_blkfront\0"s)).has("virtio_blk"));
}

TEST_CASE("kernel payload: a name on the border of two windows is found", "[firmware][payload]") {
  constexpr size_t kBorder = 1 << 20;  // of the segment, which begins with the banner
  const auto offset = GENERATE_COPY(range(kBorder - kBanner.size() - 16, kBorder - kBanner.size() + 16));
  CHECK(facts_in(vmlinux(std::string(offset, 'x') + "\0virtio_blk\0"s)).has("virtio_blk"));
}

TEST_CASE("kernel payload: what is not loaded is not looked at", "[firmware][payload]") {
  CHECK_FALSE(facts_in(vmlinux("code") + kAllNames).has("virtio_blk"));
}

TEST_CASE("kernel payload: drivers and a file system built in need no initrd", "[firmware][payload]") {
  CHECK(needs(kAllNames) == "no: virtio_pci, virtio_blk and ext4 are built in");
}

TEST_CASE("kernel payload: a driver that is a module needs an initrd", "[firmware][payload]") {
  CHECK(needs("\0virtio-pci\0ext4_inode_cache\0"s) == "yes, for a virtio disk: no built-in virtio_blk");
  CHECK(needs("\0nvme.io_queue_depth\0ext4_inode_cache\0"s) ==
        "yes, for a virtio disk: no built-in virtio_pci or virtio_blk (nvme is built in)");
}

TEST_CASE("kernel payload: file systems that are modules need an initrd", "[firmware][payload]") {
  CHECK(needs("\0virtio-pci\0virtio_blk\0"s) ==
        "yes, for a virtio disk: none of ext4, xfs, btrfs and squashfs is built in");
}

TEST_CASE("kernel payload: an initramfs of its own, or none at all, is said", "[firmware][payload]") {
  CHECK(needs(config("CONFIG_BLK_DEV_INITRD=y\nCONFIG_INITRAMFS_SOURCE=\"root.cpio\"\n")) ==
        "no: an initramfs is built in");
  CHECK(needs(config("CONFIG_BLK_DEV_INITRD=y\nCONFIG_INITRAMFS_SOURCE=\"\"\n")).starts_with("yes"));
  CHECK_THAT(needs(config("# CONFIG_BLK_DEV_INITRD is not set\nCONFIG_VIRTIO_PCI=y\n")),
             Contains("takes none") && Contains("no built-in virtio_blk"));
}

TEST_CASE("kernel payload: inspect shows what is inside", "[firmware][payload]") {
  const std::string file = bzimage_of(compressed("lz4", vmlinux(kAllNames)));
  CHECK(row(file, "PVH entry") == "0x100000");
  CHECK(row(file, "built in") == "virtio_pci, virtio_blk, ext4 (by names in it)");
  CHECK(row(file, "needs initrd") == "no: virtio_pci, virtio_blk and ext4 are built in");
  CHECK(row(vmlinux(kAllNames), "version") == "6.1.0-test");
}

TEST_CASE("kernel payload: inspect says why nothing can be seen", "[firmware][payload]") {
  const std::string payload = compressed("lz4", vmlinux(kAllNames));
  CHECK_THAT(row(bzimage_of(payload.substr(0, payload.size() / 2)), "inside"), Contains("cannot be decompressed: "));
  CHECK(row(bzimage_of(payload.substr(0, payload.size() / 2)), "needs initrd") == "unknown");
  CHECK_THAT(row(bzimage_of("\x89LZO"s + std::string(20, '\0')), "inside"), Contains("not supported: lzo"));
  CHECK_THAT(row(bzimage_of(""), "inside"), Contains("no payload"));
  CHECK_THAT(row(bzimage_of(gzip("not an ELF file, whatever it is")), "inside"), Contains("ELF"));
  CHECK_THAT(row(bzimage_of(gzip(ElfBuilder(64).load(kMiB, "code").build())), "inside"), Contains("no Linux kernel"));
}

TEST_CASE("kernel payload: one that lies beyond the end of the file is refused", "[firmware][payload]") {
  const auto [offset, length] =
      GENERATE(std::pair{0x300u, 0xffffffffu}, std::pair{0xffffff00u, 0x200u}, std::pair{0x10000u, 1u});
  const std::string file = bzimage([offset = offset, length = length](setup_header& header) {
    header.payload_offset = offset;
    header.payload_length = length;
  });
  CHECK_THROWS_WITH(KernelFile::from_bytes(as_file(file), "kernel").facts(), Contains("beyond the end of the file"));
}
