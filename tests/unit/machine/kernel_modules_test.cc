// Folders of modules as depmod leaves them, or packages.
#include "vmm/machine/kernel_modules.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// An ELF file whose .modinfo section holds these texts, which bars divide.
std::string module_file(std::string info) {
  std::ranges::replace(info, '|', '\0');
  const std::string names("\0.modinfo\0.names\0", 17), texts = info + '\0';
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_shoff = sizeof header;
  header.e_shnum = 3;
  header.e_shstrndx = 2;
  std::array<Elf64_Shdr, 3> sections{};
  sections[1].sh_name = 1;
  sections[1].sh_offset = sizeof header + sizeof sections;
  sections[1].sh_size = texts.size();
  sections[2].sh_name = 10;
  sections[2].sh_offset = sections[1].sh_offset + texts.size();
  sections[2].sh_size = names.size();
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) +
         std::string(reinterpret_cast<const char*>(&sections), sizeof sections) + texts + names;
}

struct Folder {
  Folder() : path(root.path() + "/lib/modules/6.1.0-test") {
    std::filesystem::create_directories(path);
    std::ofstream(path + "/modules.dep") << "kernel/a/virtio.ko:\n"
                                            "kernel/a/virtio-ring.ko: kernel/a/virtio.ko\n"
                                            "kernel/b/virtio_blk.ko.xz: kernel/a/virtio-ring.ko kernel/a/virtio.ko\n"
                                            "kernel/c/later.ko:\n"
                                            "kernel/c/sum_fast.ko:\n"
                                            "kernel/c/sum-plain.ko:\n"
                                            "a line without a colon\n";
    std::ofstream(path + "/modules.softdep") << "# a comment\n"
                                                "softdep virtio_blk post: later pre: crypto-sum virtio-ring nowhere\n"
                                                "softdep sum_fast pre: virtio_blk\n"
                                                "softdep virtio later\n";
    std::ofstream(path + "/modules.alias") << "alias crypto-sum-fast other\n"
                                              "alias crypto-sum sum_fast\n"
                                              "alias crypto-sum sum_plain\n"
                                              "alias crypto-sum missing\n";
    std::ofstream(path + "/modules.builtin") << "kernel/fs/ext4/ext4.ko\n";
  }
  TempDirectory root;
  std::string path;
};

}  // namespace

TEST_CASE("kernel modules: files come in the order to load them, the wanted one last", "[modules]") {
  const Folder folder;
  const auto modules = KernelModules::find("6.1.0-test", folder.root.path());
  REQUIRE(modules);
  CHECK(modules->files_for("virtio_blk") ==
        std::vector<std::string>{folder.path + "/kernel/a/virtio.ko", folder.path + "/kernel/a/virtio-ring.ko",
                                 folder.path + "/kernel/c/sum_fast.ko", folder.path + "/kernel/c/sum-plain.ko",
                                 folder.path + "/kernel/b/virtio_blk.ko.xz"});
}

TEST_CASE("kernel modules: those that ask for one another come once", "[modules]") {
  const Folder folder;
  const auto modules = KernelModules::find("6.1.0-test", folder.root.path());
  REQUIRE(modules);
  const auto files = modules->files_for("sum_fast");
  REQUIRE(files);
  CHECK(files->size() == 5);
  CHECK(files->back() == folder.path + "/kernel/c/sum_fast.ko");
}

TEST_CASE("kernel modules: a dash is an underscore, built-in ones need no file, others there are none", "[modules]") {
  const Folder folder;
  const auto modules = KernelModules::find("6.1.0-test", folder.root.path());
  REQUIRE(modules);
  CHECK(modules->files_for("virtio_ring")->size() == 2);
  CHECK(modules->files_for("virtio-ring")->size() == 2);
  CHECK(modules->files_for("ext4") == std::vector<std::string>());
  CHECK_FALSE(modules->files_for("nosuch"));
}

TEST_CASE("kernel modules: the folder itself, its parent or a root will do", "[modules]") {
  const Folder folder;
  CHECK(KernelModules::find("6.1.0-test", folder.path));
  CHECK(KernelModules::find("6.1.0-test", folder.root.path() + "/lib/modules"));
  CHECK_FALSE(KernelModules::find("6.1.1-test", folder.root.path()));
  CHECK_FALSE(KernelModules::find("no-such-release-anywhere", ""));
}

TEST_CASE("kernel modules: those of a package that was unpacked say themselves what they need", "[modules]") {
  const TempDirectory root;
  const std::string path = root.path() + "/usr/lib/modules/7.2.0-test/";
  std::filesystem::create_directories(path + "kernel/a");
  const auto module = [&](const std::string& file, const std::string& info) {
    std::ofstream(path + file, std::ios::binary) << module_file(info);
  };
  module("kernel/a/virtio.ko", "license=GPL");
  module("kernel/a/virtio_ring.ko", "depends=virtio");
  module("kernel/a/virtio_blk.ko", "depends=virtio_ring,virtio|softdep=post: later pre: crypto-sum");
  module("kernel/a/sum_fast.ko", "alias=crypto-sum|depends=");
  module("kernel/a/summer.ko", "alias=crypto-other");
  std::ofstream(path + "kernel/a/broken.ko") << "no module at all";
  std::ofstream(path + "modules.order") << "kernel/a/virtio.ko\n";
  std::ofstream(path + "modules.builtin") << "kernel/fs/ext4/ext4.ko\n";
  const auto modules = KernelModules::find("7.2.0-test", root.path());
  REQUIRE(modules);
  CHECK(modules->files_for("virtio-blk") ==
        std::vector<std::string>{path + "kernel/a/virtio.ko", path + "kernel/a/virtio_ring.ko",
                                 path + "kernel/a/sum_fast.ko", path + "kernel/a/virtio_blk.ko"});
  CHECK(modules->files_for("ext4") == std::vector<std::string>());
  CHECK(modules->files_for("broken") == std::vector<std::string>{path + "kernel/a/broken.ko"});
}
