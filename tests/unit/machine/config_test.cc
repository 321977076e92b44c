// The default kernel command line, disk names and sizes as text, and what does not fit together.
#include "vmm/machine/config.h"

#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;

namespace {

MachineConfig terminal() {
  MachineConfig config;
  config.serial.push_back(CharConfig::parse("stdio"));
  return config;
}

}  // namespace

TEST_CASE("config: Linux gets its console and its root disk", "[config]") {
  MachineConfig config = terminal();
  config.disks.push_back(DiskConfig::parse("x"));
  config.append = {"quiet"};
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "console=ttyS0 root=/dev/vda rw quiet");
  CHECK(kernel_command_line(config, KernelKind::kPvh) == "console=ttyS0 root=/dev/vda rw quiet");
}

TEST_CASE("config: a read-only root disk is mounted read-only", "[config]") {
  MachineConfig config = terminal();
  config.disks.push_back(DiskConfig::parse("x,ro"));
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "console=ttyS0 root=/dev/vda ro");
}

TEST_CASE("config: a directory as the root goes before a disk", "[config]") {
  MachineConfig config = terminal();
  config.disks.push_back(DiskConfig::parse("x"));
  config.rootfs = ShareConfig{.path = "tree", .tag = "root"};
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "console=ttyS0 rootfstype=virtiofs root=root rw");
  config.rootfs->read_only = true;
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "console=ttyS0 rootfstype=virtiofs root=root ro");
}

TEST_CASE("config: what the user says of console and root replaces the default", "[config]") {
  MachineConfig config = terminal();
  config.disks.push_back(DiskConfig::parse("x"));
  config.append = {"quiet root=LABEL=a", "console=ttyS1"};
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "quiet root=LABEL=a console=ttyS1");
}

TEST_CASE("config: the console on the terminal comes last, where init is", "[config]") {
  MachineConfig config;
  config.serial.push_back(CharConfig::parse("null"));
  config.consoles.push_back(CharConfig::parse("stdio"));
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "console=ttyS0 console=hvc0");
  config.serial[0] = CharConfig::parse("stdio");
  config.consoles[0] = CharConfig::parse("pty");
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "console=hvc0 console=ttyS0");
}

TEST_CASE("config: a Multiboot kernel gets only what was asked for", "[config]") {
  MachineConfig config = terminal();
  config.disks.push_back(DiskConfig::parse("x"));
  CHECK(kernel_command_line(config, KernelKind::kMultiboot).empty());
  config.append = {"a", "b"};
  CHECK(kernel_command_line(config, KernelKind::kMultiboot) == "a b");
}

TEST_CASE("config: --cmdline-only stands alone", "[config]") {
  MachineConfig config = terminal();
  config.append = {"quiet"};
  config.command_line = "init=/bin/sh";
  CHECK(kernel_command_line(config, KernelKind::kBzImage) == "init=/bin/sh");
}

TEST_CASE("config: disks are named as Linux names them", "[config]") {
  const auto [index, name] = GENERATE(table<size_t, std::string>(
      {{0, "vda"}, {25, "vdz"}, {26, "vdaa"}, {51, "vdaz"}, {52, "vdba"}, {701, "vdzz"}, {702, "vdaaa"}}));
  CHECK(disk_name(index) == name);
}

TEST_CASE("config: sizes are written in the largest unit that fits", "[config]") {
  const auto [bytes, text] = GENERATE(table<uint64_t, std::string>({{0, "0 bytes"},
                                                                    {512, "512 bytes"},
                                                                    {64ull << 20, "64 MiB"},
                                                                    {1ull << 30, "1 GiB"},
                                                                    {3ull << 29, "1.5 GiB"},
                                                                    {4ull << 40, "4 TiB"}}));
  CHECK(size_text(bytes) == text);
}

TEST_CASE("config: memory that is not possible has the nearest that is as its fix", "[config]") {
  const auto fix = [](uint64_t memory) -> std::string {
    try {
      validate({.memory = memory});
    } catch (const Error& error) {
      return error.fix();
    }
    return "accepted";
  };
  CHECK(fix(uint64_t{17} << 20) == "--mem 32M");
  CHECK(fix(uint64_t{5} << 40) == "--mem 4T");
  CHECK(fix(uint64_t{65537} << 10) == "--mem 65540K");
  CHECK(fix(uint64_t{32} << 20) == "accepted");
}

TEST_CASE("config: a port of the host is forwarded once", "[config]") {
  MachineConfig config;
  config.nets = {NetConfig::parse("user,fwd=2222:22,fwd=[::1]:2222:22,fwd=65535:22")};
  CHECK_NOTHROW(validate(config));
  const auto again = GENERATE(as<std::string>(), "2222:80", "0.0.0.0:2222:80", "65535:80");
  config.nets.push_back(NetConfig::parse("user,fwd=" + again));
  CHECK_THROWS_WITH(validate(config), Catch::Matchers::Contains("is forwarded twice"));
}
