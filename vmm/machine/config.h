// MachineConfig: everything a user can say about a machine, as data. The command line fills it
// (control/command_line.h); validate() refuses what does not fit together.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/backends/char/char_config.h"
#include "devices/backends/disk/disk.h"
#include "devices/backends/disk/io_engine.h"
#include "devices/backends/net/net.h"
#include "devices/backends/share/share_config.h"
#include "devices/backends/vsock/vsock_config.h"
#include "devices/virtio/balloon_config.h"
#include "firmware/boot.h"

namespace vmm {

enum class OnReset { kExit, kReboot, kPause };

// kMade is one that vmm makes (auto_initrd.h), which kAsNeeded does when the kernel cannot reach its root without.
enum class InitrdKind { kAsNeeded, kNone, kFile, kMade };

struct CommandConfig {
  std::vector<std::string> words;        // the command and its arguments
  std::vector<std::string> environment;  // NAME=VALUE
  std::string directory = "/";           // where it starts
  bool output_to_errors = false;         // its standard output goes to our standard error
};

struct MachineConfig {
  std::string kernel;
  InitrdKind initrd_kind = InitrdKind::kAsNeeded;
  std::vector<std::string> initrds;         // of kFile; behind a name there may be arguments, for Multiboot
  std::string modules;                      // where it finds the kernel's; empty: /lib/modules/RELEASE
  std::vector<std::string> append;          // added to the default command line
  std::optional<std::string> command_line;  // replaces it altogether
  unsigned cpus = 1;
  uint64_t memory = uint64_t{1} << 30;  // bytes
  std::string cpu = "host";             // vmm/kvm/host_cpu.h
  std::vector<DiskConfig> disks;
  std::vector<NetConfig> nets;        // a network card each; one that is `none` stands alone
  std::optional<ShareConfig> rootfs;  // a directory that is the root file system
  std::vector<ShareConfig> shares;    // directories to be mounted by their tags
  std::vector<CharConfig> serial;     // ttyS0.. or ttyAMA0..
  std::vector<CharConfig> consoles;   // virtio consoles: hvc0..
  IoEngine::Kind io_engine = IoEngine::Kind::kAuto;
  OnReset on_reset = OnReset::kExit;
  bool paused = false;
  bool trace = false;  // exit_trace.h
  // The run ends then; zero: never.
  std::chrono::milliseconds timeout{0};            // whatever happens
  std::chrono::milliseconds boot_timeout{0};       // until the command is started
  std::chrono::milliseconds idle_timeout{0};       // without output
  std::chrono::milliseconds hang_timeout{10'000};  // without progress of its vCPUs
  bool rng = true;
  std::optional<VsockConfig> vsock;
  std::optional<BalloonConfig> balloon;
  std::optional<CommandConfig> command;  // to be run in the guest, on our standard streams
  std::optional<uint16_t> debug_exit_port;
  bool pc_testdev = false;    // devices/pc/pc_testdev.h
  std::string name;           // shown to people: in the lock message and by SMBIOS
  std::string serial_number;  // SMBIOS
};

constexpr uint64_t kMinMemory = uint64_t{32} << 20;
constexpr uint64_t kMaxMemory = uint64_t{4} << 40;

// Throws Error when a value is out of bounds or values contradict each other.
void validate(const MachineConfig& config);

// The kernel command line: for Linux the defaults that suit the machine, then --append; or --cmdline-only alone.
std::string kernel_command_line(const MachineConfig& config, KernelKind kind);

// All directories that are shared, the root first.
std::vector<ShareConfig> shared_directories(const MachineConfig& config);

// Whether another process is to see the guest's memory.
bool shares_memory(const MachineConfig& config);

// The Linux name of the disk with this number: vda, vdb, ..., vdz, vdaa.
std::string disk_name(size_t index);

// "1 GiB", "512 MiB", "1.5 GiB".
std::string size_text(uint64_t bytes);

}  // namespace vmm
