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

TEST_CASE("auto initrd: the driver of each device that is asked for is taken along where there is one", "[initrd]") {
  MachineConfig config;
  config.rng = false;
  config.nets = {NetConfig{}};
  CHECK(modules_for(config).helpful == std::vector<std::string>{"button", "gpio_keys", "evdev"});
  config.nets = {NetConfig{.kind = NetConfig::Kind::kUser}};
  config.vsock = VsockConfig{};
  config.balloon = BalloonConfig{};
  const std::vector<std::string> helpful = modules_for(config).helpful;
  for (const char* driver : {"virtio_net", "vmw_vsock_virtio_transport", "virtio_balloon"}) {
    CHECK(std::ranges::count(helpful, driver) == 1);
  }
}

TEST_CASE("auto initrd: where a command starts is told, with what it takes to see it", "[initrd]") {
  const Modules modules({"virtio_pci.ko", "virtio_console.ko", "virtiofs.ko", "overlay.ko"});
  MachineConfig config = config_with(modules);
  config.rootfs = ShareConfig{.path = "/", .tag = "root"};
  config.command = CommandConfig{.words = {"true"}, .environment = {}, .directory = "/tmp/work"};
  CHECK_THAT(archive_of(make_initrd(config, "6.1.0")), Contains("/tmp/work") && Contains("overlay.ko\n"));
  config.command->directory = "/srv/tmp";
  CHECK_THAT(archive_of(make_initrd(config, "6.1.0")), Contains("/srv/tmp") && !Contains("overlay.ko\n"));
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

TEST_CASE("auto initrd: file systems are known by their superblocks, in partitions as well", "[initrd]") {
  const TempDirectory folder;
  const std::string disk = folder.path() + "/disk";
  std::string bytes(0x140000, '\0');
  const auto put = [&](size_t offset, std::string_view text) { bytes.replace(offset, text.size(), text); };
  const auto with = [&](size_t offset, std::string_view magic) {
    const std::string before = bytes;
    put(offset, magic);
    std::ofstream(disk, std::ios::binary) << bytes;
    bytes = before;
    return file_systems_on(disk);
  };
  using Names = std::vector<std::string>;
  CHECK(with(0x438, "\x53\xef") == Names{"ext4"});
  CHECK(with(0, "XFSB") == Names{"xfs"});
  CHECK(with(0x10040, "_BHRfS_M") == Names{"btrfs"});
  CHECK(with(0, "nothing").empty());
  CHECK(file_systems_on("/nonexistent").empty());
  SECTION("of an MBR, the second of which begins at sector 2048") {
    put(446 + 16 + 8, std::string_view("\x00\x08\x00\x00", 4));
    put(510, "\x55\xaa");
    CHECK(with(0x100000, "XFSB") == Names{"xfs"});
  }
  SECTION("of a GPT, whose only entry is the fourth") {
    put(512, "EFI PART");
    put(512 + 72, std::string_view("\x02\0\0\0\0\0\0\0", 8));
    put(512 + 80, std::string_view("\x80\0\0\0\x80\0\0\0", 8));
    put(1024 + 3 * 128 + 32, std::string_view("\x00\x08\0\0\0\0\0\0", 8));
    CHECK(with(0x100000, "XFSB") == Names{"xfs"});
  }
  SECTION("or not, where a GPT has places that no disk has") {
    put(512, "EFI PART");
    put(512 + 72, std::string_view("\xff\xff\xff\xff\xff\xff\xff\x7f", 8));
    put(512 + 80, std::string_view("\xff\xff\xff\xff\x80\0\0\0", 8));
    CHECK(with(0, "XFSB") == Names{"xfs"});
  }
}

TEST_CASE("auto initrd: it is needed for each module on the way to the root", "[initrd]") {
  const TempDirectory folder;
  std::string bytes(0x1000, '\0');
  bytes.replace(0, 4, "XFSB");
  MachineConfig config;
  config.disks = {DiskConfig::parse(folder.file("disk", bytes)), DiskConfig::parse(folder.file("empty", ""))};
  const auto needed_with = [&](const std::vector<std::string>& names) {
    const Modules modules(names);
    config.modules = modules.root.path();
    return needs_initrd(config, "6.1.0");
  };
  CHECK_FALSE(needed_with({"other.ko"}));
  CHECK(needed_with({"virtio_blk.ko"}));
  CHECK(needed_with({"virtio_pci.ko"}));
  CHECK(needed_with({"xfs.ko"}));
  config.append = {"root=/dev/vdb"};
  CHECK_FALSE(needed_with({"xfs.ko"}));
  config.append = {"root=/dev/vda1"};
  CHECK(needed_with({"xfs.ko"}));
}

TEST_CASE("auto initrd: it is needed for a root that the kernel cannot find by its name", "[initrd]") {
  MachineConfig config;
  config.disks = {DiskConfig::parse("disk")};
  const auto needed_for = [&](const std::string& root) {
    config.append = {"quiet root=" + root + " ro"};
    return needs_initrd(config, "no-such-release");
  };
  CHECK(needed_for("UUID=1234"));
  CHECK(needed_for("LABEL=root"));
  CHECK_FALSE(needed_for("PARTUUID=1234-01"));
  CHECK_FALSE(needed_for("/dev/vda"));
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
