// The initrd that vmm makes: what is taken along, and what is missed by name.
#include "vmm/machine/auto_initrd.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/support/descriptors.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

struct Modules {
  explicit Modules(const std::vector<std::string>& names) {
    std::ofstream dependencies(root.path() + "/modules.dep");
    for (const std::string& name : names) {
      dependencies << name << ":\n";
      std::ofstream(root.path() + "/" + name) << "content of " << name;
    }
  }
  TempDirectory root;
};

MachineConfig config_with(const Modules& modules) {
  MachineConfig config;
  config.initrd_kind = InitrdKind::kMade;
  config.modules = modules.root.path();
  return config;
}

// The list's entry in an archive: a header's last field, then the name.
const std::string kOrder = "00000000modules/order";

std::string archive_of(const UniqueFd& fd) {
  ::lseek(fd.get(), 0, SEEK_SET);
  return read_available(fd);
}

}  // namespace

TEST_CASE("auto initrd: it holds init, the modules and their order", "[initrd]") {
  const Modules modules({"virtio_pci.ko", "virtio_console.ko", "other.ko"});
  MachineConfig config = config_with(modules);
  config.command = CommandConfig{.words = {"true"}};
  const std::string archive = archive_of(make_initrd(config, "6.1.0"));
  CHECK_THAT(archive, Contains("content of virtio_pci.ko") && Contains("virtio_pci.ko\nvirtio_console.ko\n") &&
                          Contains(kOrder) && Contains("init") && Contains("command") && !Contains("other.ko"));
}

TEST_CASE("auto initrd: a shared directory needs virtiofs", "[initrd]") {
  MachineConfig config;
  CHECK(std::ranges::count(modules_for(config).required, "virtiofs") == 0);
  config.rootfs = ShareConfig{.path = "/", .tag = "root"};
  CHECK(std::ranges::count(modules_for(config).required, "virtiofs") == 1);
  const Modules modules({"virtio_pci.ko", "virtiofs.ko"});
  config.modules = modules.root.path();
  CHECK(needs_initrd(config, "6.1.0"));
  config.rootfs.reset();
  CHECK_FALSE(needs_initrd(config, "6.1.0"));
}

TEST_CASE("auto initrd: a card's driver is taken along where there is one", "[initrd]") {
  MachineConfig config;
  config.nets = {NetConfig{}};
  CHECK(std::ranges::count(modules_for(config).helpful, "virtio_net") == 0);
  config.nets = {NetConfig{.kind = NetConfig::Kind::kUser}};
  CHECK(std::ranges::count(modules_for(config).helpful, "virtio_net") == 1);
}

TEST_CASE("auto initrd: the power button is heard where its driver is a module", "[initrd]") {
  const Modules modules({"virtio_pci.ko", "gpio_keys.ko", "evdev.ko"});
  CHECK_THAT(archive_of(make_initrd(config_with(modules), "6.1.0")),
             Contains("virtio_pci.ko\ngpio_keys.ko\nevdev.ko\n"));
}

TEST_CASE("auto initrd: a driver that is nowhere is named", "[initrd]") {
  const Modules modules({"virtio_pci.ko"});
  MachineConfig config = config_with(modules);
  config.command = CommandConfig{.words = {"true"}};
  CHECK_THROWS_WITH(make_initrd(config, "6.1.0"), Contains("6.1.0 has no virtio_console"));
}

TEST_CASE("auto initrd: a folder without modules is refused when it was named", "[initrd]") {
  MachineConfig config;
  config.modules = "/nonexistent";
  CHECK_THROWS_WITH(make_initrd(config, "6.1.0"), Contains("'/nonexistent' has no modules of this kernel, 6.1.0"));
  config.modules.clear();
  CHECK_THAT(archive_of(make_initrd(config, "no-such-release")), !Contains(kOrder));
}

TEST_CASE("auto initrd: a release that is a path is not followed", "[initrd]") {
  MachineConfig config;
  const std::string release = GENERATE("", "..", "../../etc", "a/b");
  CHECK_THAT(archive_of(make_initrd(config, release)), !Contains(kOrder));
}

TEST_CASE("auto initrd: the root's file system is known by its superblock", "[initrd]") {
  const TempDirectory folder;
  const std::string disk = folder.path() + "/disk";
  const auto with = [&](size_t offset, std::string_view magic) {
    std::string bytes(0x11000, '\0');
    bytes.replace(offset, magic.size(), magic);
    std::ofstream(disk, std::ios::binary) << bytes;
    return file_system_on(disk);
  };
  CHECK(with(0x438, "\x53\xef") == "ext4");
  CHECK(with(0, "XFSB") == "xfs");
  CHECK(with(0x10040, "_BHRfS_M") == "btrfs");
  CHECK(with(0, "nothing") == std::nullopt);
  CHECK(file_system_on("/nonexistent") == std::nullopt);
}

TEST_CASE("auto initrd: a limit on files is one on it, and said to be it", "[initrd]") {
  const FileSizeLimit limit(1024);
  try {
    make_initrd({}, "6.1.0");
    FAIL("it was made");
  } catch (const Error& error) {
    CHECK(error.what() == std::string("cannot keep the initrd in memory: File too large"));
    CHECK(error.fix() == "ulimit -f unlimited");
  }
}
