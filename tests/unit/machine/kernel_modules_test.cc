// Folders of modules as depmod leaves them.
#include "vmm/machine/kernel_modules.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

namespace {

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

TEST_CASE("kernel modules: a package that was unpacked only is sent to depmod", "[modules]") {
  const Folder folder;
  std::filesystem::rename(folder.path + "/modules.dep", folder.path + "/modules.order");
  CHECK_THROWS_WITH(KernelModules::find("6.1.0-test", folder.root.path()), Catch::Contains("no modules.dep"));
}
