// The file of `vmm test`, vmm.toml: which kernels, configurations and commands there are.
//
//   mem = "512M"                     # any flag of `vmm run` by its name: it holds for every test
//   disk = ["rootfs.img,ephemeral"]  # flags that may be repeated take lists
//
//   [[kernel]]                       # the axes; every kernel meets every configuration and every command
//   name = "6.1"
//   kernel = "/boot/vmlinuz-6.1"
//   [[config]]
//   name = "smp"
//   cpus = 2
//   [[command]]
//   name = "selftests"
//   run = "cd /srv && ./run.sh"      # for sh -c; or a list of words
//   expect-tap = true
//
//   [run]                            # how the tests are run: --jobs and so on, by name
//   retries = 1
//
// What is not understood is refused, with its line.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

// Flags of `vmm run`, without their dashes. A switch that is on has one empty value, one that is off has none.
using RunSettings = std::map<std::string, std::vector<std::string>>;

// One kernel, configuration or command.
struct TestAxisEntry {
  std::string name;
  RunSettings settings;
  std::vector<std::string> words;  // of a command
};

// How tests are run, where somebody said so.
struct MatrixOptions {
  std::optional<unsigned> jobs;
  static constexpr unsigned kMostRetries = 100;
  std::optional<unsigned> retries;
  std::optional<unsigned> host_cpus;
  std::optional<uint64_t> host_memory;  // bytes
};

struct MatrixFile {
  RunSettings settings;
  std::vector<TestAxisEntry> kernels, configs, commands;  // empty: that axis was not given
  MatrixOptions options;
};

// `path` is for messages. Throws Error.
MatrixFile parse_test_file(std::string_view text, const std::string& path);
// Throws Error when there is no such file, or it cannot be one.
MatrixFile read_test_file(const std::string& path);

// May `vmm test` set this flag, or does the runner need it for itself (--result) or a person (--escape)?
bool is_test_flag(std::string_view name);
// May it be given more than once?
bool is_list_flag(std::string_view name);
// A name becomes the name of a folder.
bool is_test_name(std::string_view name);

}  // namespace vmm
