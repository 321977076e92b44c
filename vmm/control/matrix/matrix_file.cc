// Reading vmm.toml with toml++; see matrix_file.h. Nobody else includes that header, which is large.
#include "vmm/control/matrix/matrix_file.h"

#include <fmt/core.h>

// toml++ asserts where it is surprised by a text, as by `[\`: that refuses the file, and no more.
namespace vmm {
namespace {
struct TomlSurprise {};
[[noreturn]] void toml_surprise() { throw TomlSurprise(); }
}  // namespace
}  // namespace vmm
#define TOML_ASSERT(condition) ((condition) ? static_cast<void>(0) : vmm::toml_surprise())
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "vmm/control/cli/run_flags.h"
#include "vmm/core/error.h"
#include "vmm/core/small_file.h"

namespace vmm {

namespace {

constexpr size_t kMaxName = 64;
// A dot between keys is one more table in a table, and toml++ goes down those by recursion.
constexpr std::ptrdiff_t kMaxDots = 1000;
constexpr const char* kHowItIsWritten = "https://toml.io says how TOML is written";

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  MatrixFile read(const toml::table& root) const {
    MatrixFile file;
    for (const auto& [key, value] : root) {
      const std::string name(key.str());
      if (name == "config" || name == "command" || (name == "kernel" && !value.is_string())) {
        std::vector<TestAxisEntry>& axis = name == "kernel"   ? file.kernels
                                           : name == "config" ? file.configs
                                                              : file.commands;
        axis = read_axis(name, value);
      } else if (name == "run") {
        file.options = read_options(value);
      } else {
        add_setting(file.settings, name, value);
      }
    }
    return file;
  }

  [[noreturn]] void refuse(const toml::source_region& where, const std::string& why, const std::string& fix) const {
    throw Error(fmt::format("{}:{}: {}", path_, where.begin.line, why), fix);
  }

  // Keys end at '=' or with their line.
  void check_nesting(std::string_view text) const {
    for (uint32_t line = 1; !text.empty();) {
      const std::string_view keys = text.substr(0, text.find_first_of("\n="));
      if (std::ranges::count(keys, '.') > kMaxDots) {
        throw Error(fmt::format("{}:{}: more than {} dots in a row of keys", path_, line, kMaxDots), kHowItIsWritten);
      }
      if (keys.size() < text.size() && text[keys.size()] == '\n') ++line;
      text.remove_prefix(std::min(text.size(), keys.size() + 1));
    }
  }

 private:
  std::vector<TestAxisEntry> read_axis(const std::string& name, const toml::node& node) const {
    const toml::array* array = node.as_array();
    const std::string header = fmt::format("[[{}]]", name);
    if (array == nullptr || std::ranges::any_of(*array, [](const toml::node& entry) { return !entry.is_table(); })) {
      refuse(node.source(), fmt::format("'{}' is no list of tables", name), fmt::format("begin each with {}", header));
    }
    if (array->empty()) {
      refuse(node.source(), fmt::format("'{}' is empty, so there is nothing to test", name),
             fmt::format("write one {}, or leave it out", header));
    }
    std::vector<TestAxisEntry> axis;
    std::set<std::string> names;
    for (const toml::node& entry : *array) {
      axis.push_back(read_entry(name, *entry.as_table()));
      if (!names.insert(axis.back().name).second) {
        refuse(entry.source(), fmt::format("there are two {} '{}'", header, axis.back().name), "rename one");
      }
    }
    return axis;
  }

  TestAxisEntry read_entry(const std::string& axis, const toml::table& table) const {
    TestAxisEntry entry;
    for (const auto& [key, value] : table) {
      const std::string name(key.str());
      if (name == "name") {
        entry.name = value.value<std::string>().value_or("");
        if (!is_test_name(entry.name)) {
          refuse(value.source(), "this is no name", "up to 64 letters, digits and . _ - +, as it names a folder");
        }
      } else if (name == "run" && axis == "command") {
        entry.words = value.is_string() ? std::vector<std::string>{"sh", "-c", *value.value<std::string>()}
                                        : read_strings(name, value);
        if (entry.words.empty()) refuse(value.source(), "'run' has no words", "run = \"uname -a\"");
      } else {
        add_setting(entry.settings, name, value);
      }
    }
    if (entry.name.empty()) refuse(table.source(), fmt::format("this {} has no name", axis), "name = \"...\"");
    if (axis == "command" && entry.words.empty()) {
      refuse(table.source(), fmt::format("the command '{}' has nothing to run", entry.name), "run = \"uname -a\"");
    }
    return entry;
  }

  MatrixOptions read_options(const toml::node& node) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) refuse(node.source(), "'run' is no table", "begin it with [run]");
    MatrixOptions options;
    for (const auto& [key, value] : *table) {
      const std::string name(key.str());
      if (name == "jobs") {
        options.jobs = read_number(name, value, 1);
      } else if (name == "retries") {
        options.retries = read_number(name, value, 0, MatrixOptions::kMostRetries);
      } else if (name == "host-cpus") {
        options.host_cpus = read_number(name, value, 1);
      } else if (name == "host-mem") {
        const auto text = value.value_exact<std::string>();
        if (!text) refuse(value.source(), "'host-mem' is no size", "host-mem = \"4G\"");
        options.host_memory = parse_size("host-mem", *text);
      } else {
        refuse(key.source(), fmt::format("[run] has no '{}'", name), "jobs, retries, host-cpus and host-mem it has");
      }
    }
    return options;
  }

  unsigned read_number(const std::string& name, const toml::node& node, int64_t least,
                       int64_t most = std::numeric_limits<int>::max()) const {
    const auto number = node.value_exact<int64_t>();
    if (number && *number >= least && *number <= most) return static_cast<unsigned>(*number);
    refuse(node.source(), fmt::format("'{}' is no number of at least {}, and at most {}", name, least, most),
           fmt::format("{} = 2", name));
  }

  std::vector<std::string> read_strings(const std::string& name, const toml::node& node) const {
    const toml::array* array = node.as_array();
    if (array == nullptr || std::ranges::any_of(*array, [](const toml::node& word) { return !word.is_string(); })) {
      refuse(node.source(), fmt::format("'{}' is no list of strings", name), fmt::format("{} = [\"...\"]", name));
    }
    std::vector<std::string> words;
    for (const toml::node& word : *array) words.push_back(*word.value<std::string>());
    return words;
  }

  void add_setting(RunSettings& settings, const std::string& name, const toml::node& value) const {
    if (!is_test_flag(name)) {
      refuse(value.source(), fmt::format("there is no '{}' here", name),
             "flags of `vmm run` by their long names, [[kernel]], [[config]], [[command]] and [run]");
    }
    settings[name] = read_values(name, value);
  }

  std::vector<std::string> read_values(const std::string& name, const toml::node& value) const {
    if (!run_flag_takes_value(name).value_or(true)) {
      if (!value.is_boolean()) refuse(value.source(), fmt::format("'{}' is on or off", name), name + " = true");
      return *value.value<bool>() ? std::vector<std::string>{""} : std::vector<std::string>{};
    }
    if (value.is_string()) return {*value.value<std::string>()};
    if (value.is_integer()) return {std::to_string(*value.value<int64_t>())};
    if (value.is_floating_point()) return {fmt::format("{}", *value.value<double>())};
    if (is_list_flag(name)) return read_strings(name, value);
    refuse(value.source(), fmt::format("'{}' is one string or number", name), fmt::format("{} = \"...\"", name));
  }

  const std::string& path_;
};

}  // namespace

bool is_test_flag(std::string_view name) {
  // The runner's own, what is for a person at a terminal, and what two machines cannot have at once.
  constexpr std::array<std::string_view, 17> kNotHere{"result", "junit",   "github",   "tap",     "exit-style", "log",
                                                      "escape", "paused",  "dry-run",  "verbose", "name",       "ctl",
                                                      "gdb",    "vmlinux", "on-panic", "vmcore",  "trace"};
  return std::ranges::find(kNotHere, name) == kNotHere.end() && run_flag_takes_value(name).has_value();
}

bool is_list_flag(std::string_view name) {
  constexpr std::array<std::string_view, 9> kLists{"append",  "disk", "net",     "share", "serial",
                                                   "console", "env",  "fail-on", "allow"};
  return std::ranges::find(kLists, name) != kLists.end();
}

bool is_test_name(std::string_view name) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+";
  return !name.empty() && name.size() <= kMaxName && name.front() != '.' && name.front() != '-' &&
         name.find_first_not_of(kPlain) == std::string_view::npos;
}

MatrixFile parse_test_file(std::string_view text, const std::string& path) {
  const Reader reader(path);
  reader.check_nesting(text);
  try {
    return reader.read(toml::parse(text));
  } catch (const toml::parse_error& error) {
    reader.refuse(error.source(), std::string(error.description()), kHowItIsWritten);
  } catch (const TomlSurprise&) {
    throw Error(path + ": this is no TOML", kHowItIsWritten);
  }
}

MatrixFile read_test_file(const std::string& path) {
  return parse_test_file(read_small_file({}, path, "vmm test --help shows such a file"), path);
}

}  // namespace vmm
