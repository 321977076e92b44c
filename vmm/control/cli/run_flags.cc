// Reading a run's flags with CLI11; see run_flags.h.
#include "vmm/control/cli/run_flags.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <span>
#include <utility>

#include "devices/backends/option_list.h"
#include "vmm/core/error.h"
#include "vmm/core/trace.h"
#include "vmm/kvm/host_cpu.h"

namespace vmm {

namespace {

template <typename T>
T parse_number(std::string_view flag, const std::string& text, std::string_view example) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  T value{};
  const char* begin = text.data() + (hex ? 2 : 0);
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value, hex ? 16 : 10);
  if (error == std::errc() && end == text.data() + text.size() && end != begin) return value;
  throw Error(fmt::format("{}: '{}' is no number that fits", flag, text), fmt::format("{} {}", flag, example));
}

std::chrono::milliseconds parse_seconds(std::string_view flag, const std::string& text) {
  constexpr double kMost = 1e9;
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || !(seconds >= 0.001) || seconds > kMost) {
    throw Error(fmt::format("{}: '{}' is no number of seconds", flag, text), fmt::format("{} 60", flag));
  }
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

template <typename T, size_t N>
T parse_choice(std::string_view flag, const std::string& text,
               const std::array<std::pair<std::string_view, T>, N>& of) {
  std::string names;
  for (const auto& [name, value] : of) {
    if (text == name) return value;
    names += fmt::format("{}{} {}", names.empty() ? "" : ", ", flag, name);
  }
  throw Error(fmt::format("{}: there is no '{}'", flag, text), names);
}

CharConfig parse_console(std::string_view text) {
  if (text.starts_with("virtio:")) text.remove_prefix(7);
  CharConfig config = CharConfig::parse(text);
  if (config.split_gdb.empty()) return config;
  throw Error("--console: split-gdb is for a serial line, which kgdb can use", "--serial stdio,split-gdb=unix:PATH");
}

BalloonConfig parse_balloon(std::string_view text) {
  const std::vector<std::string> parts = split_options(text);
  BalloonConfig balloon = {.size = parse_size("--balloon", parts.front())};
  for (const std::string& option : std::span(parts).subspan(1)) {
    const size_t equals = option.find('=');
    const std::string name = option.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
    bool* const which = name == "deflate-on-oom" ? &balloon.deflate_on_oom
                        : name == "reporting"    ? &balloon.reporting
                                                 : nullptr;
    if (which == nullptr || (value != "on" && value != "off")) {
      throw Error(fmt::format("--balloon: '{}': unknown option", option), "deflate-on-oom=off, reporting=off");
    }
    *which = value == "on";
  }
  return balloon;
}

// "NAME=VALUE" as it is, "NAME" with our own value.
std::string variable(const std::string& text) {
  if (text.find('=') != std::string::npos && !text.starts_with('=')) return text;
  const char* value = text.empty() ? nullptr : std::getenv(text.c_str());
  if (value != nullptr) return text + "=" + value;
  throw Error(fmt::format("--env: there is no variable '{}' here", text), "--env NAME=VALUE");
}

// CLI11 calls back in the order in which they were typed.
void add_run_flags(CLI::App& app, CommandLine& line) {
  MachineConfig& machine = line.machine;
  const auto text = [&app](const std::string& name, std::function<void(const std::string&)> take) {
    app.add_option_function<std::vector<std::string>>(name,
                                                      [take = std::move(take)](const std::vector<std::string>& values) {
                                                        for (const std::string& value : values) take(value);
                                                      })
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  // A script whose variable is not set passes "", and has to hear of it: its result would be written nowhere.
  const auto flag = [&text](const std::string& name, std::function<void(const std::string&)> take) {
    text(name, [name, take = std::move(take)](const std::string& value) {
      if (value.empty()) throw Error(name + ": its value is empty", "give it one, or leave " + name + " out");
      take(value);
    });
  };
  const auto toggle = [&app](const std::string& name, std::function<void()> take) {
    app.add_flag_callback(name, std::move(take))->disable_flag_override();
  };
  flag("--kernel", [&](const std::string& value) { machine.kernel = value; });
  flag("--initrd", [&](const std::string& value) {
    const InitrdKind before = machine.initrd_kind;
    machine.initrd_kind = value == "none" ? InitrdKind::kNone : value == "auto" ? InitrdKind::kMade : InitrdKind::kFile;
    if (machine.initrd_kind == InitrdKind::kFile) machine.initrds.push_back(value);
    if (before != InitrdKind::kAsNeeded && before != machine.initrd_kind) {
      throw Error(fmt::format("--initrd {} and another --initrd contradict each other", value),
                  "leave one of them out");
    }
  });
  flag("--modules", [&](const std::string& value) { machine.modules = value; });
  flag("--env", [&](const std::string& value) { line.environment.push_back(variable(value)); });
  flag("--cwd", [&](const std::string& value) { line.directory = value; });
  text("--append", [&](const std::string& value) { machine.append.push_back(value); });
  text("--cmdline-only", [&](const std::string& value) { machine.command_line = value; });
  flag("--cpus", [&](const std::string& value) { machine.cpus = parse_number<unsigned>("--cpus", value, "2"); });
  flag("--mem", [&](const std::string& value) { machine.memory = parse_size("--mem", value); });
  flag("--cpu", [&](const std::string& value) {
    check_cpu_model(value);
    machine.cpu = value;
  });
  flag("--disk", [&](const std::string& value) { machine.disks.push_back(DiskConfig::parse(value)); });
  flag("--net", [&](const std::string& value) { machine.nets.push_back(NetConfig::parse(value)); });
  flag("--rootfs", [&](const std::string& value) { machine.rootfs = ShareConfig::parse("--rootfs", value); });
  flag("--share", [&](const std::string& value) { machine.shares.push_back(ShareConfig::parse("--share", value)); });
  flag("--vsock", [&](const std::string& value) { machine.vsock = VsockConfig::parse(value); });
  flag("--balloon", [&](const std::string& value) { machine.balloon = parse_balloon(value); });
  flag("--serial", [&](const std::string& value) { machine.serial.push_back(CharConfig::parse(value)); });
  flag("--console", [&](const std::string& value) { machine.consoles.push_back(parse_console(value)); });
  flag("--escape", [&](const std::string& value) { line.escape = value; });
  flag("--debug-exit", [&](const std::string& value) {
    machine.debug_exit_port = parse_number<uint16_t>("--debug-exit", value, "0xf4");
  });
  toggle("--pc-testdev", [&] { machine.pc_testdev = true; });
  flag("--on-reset", [&](const std::string& value) {
    machine.on_reset = parse_choice<OnReset>(
        "--on-reset", value,
        std::array<std::pair<std::string_view, OnReset>, 3>{
            {{"exit", OnReset::kExit}, {"reboot", OnReset::kReboot}, {"pause", OnReset::kPause}}});
  });
  flag("--on-panic", [&](const std::string& value) {
    if (value == "dump" && line.vmcore.empty()) line.vmcore = "vmcore";
    line.debug.on_panic = value == "gdb";
    line.pause_on_panic = value == "pause";
    if (value == "dump" || value == "exit" || value == "gdb" || value == "pause") return;
    throw Error(fmt::format("--on-panic: there is no '{}'", value), "--on-panic exit, pause, gdb or dump");
  });
  flag("--vmlinux", [&](const std::string& value) { line.debug.vmlinux = value; });
  app.add_option_function<std::vector<std::string>>("--gdb",
                                                    [&](const std::vector<std::string>& values) {
                                                      line.debug.listen = true;
                                                      if (values.back().empty()) return;
                                                      GdbAddress::parse(values.back());
                                                      line.debug.address = values.back();
                                                    })
      ->expected(0, 1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  flag("--fail-on", [&](const std::string& value) { line.fail_on.push_back(value); });
  flag("--allow", [&](const std::string& value) { line.allow_files.push_back(value); });
  flag("--result", [&](const std::string& value) { line.report.json = value; });
  flag("--junit", [&](const std::string& value) { line.report.junit = value; });
  flag("--exit-style", [&](const std::string& value) {
    using Style = ReportConfig::ExitStyle;
    line.report.exit_style =
        parse_choice<Style>("--exit-style", value,
                            std::array<std::pair<std::string_view, Style>, 3>{
                                {{"vmm", Style::kVmm}, {"simple", Style::kSimple}, {"crosvm", Style::kCrosvm}}});
  });
  toggle("--github", [&] { line.report.github = true; });
  toggle("--tap", [&] { line.report.tap = true; });
  toggle("--expect-tap", [&] { line.expect_tap = true; });
  flag("--timeout", [&](const std::string& value) { machine.timeout = parse_seconds("--timeout", value); });
  flag("--boot-timeout",
       [&](const std::string& value) { machine.boot_timeout = parse_seconds("--boot-timeout", value); });
  flag("--hang-timeout", [&](const std::string& value) {
    machine.hang_timeout = value == "none" ? std::chrono::milliseconds(0) : parse_seconds("--hang-timeout", value);
  });
  flag("--idle-timeout",
       [&](const std::string& value) { machine.idle_timeout = parse_seconds("--idle-timeout", value); });
  flag("--io-engine", [&](const std::string& value) {
    using Kind = IoEngine::Kind;
    machine.io_engine =
        parse_choice<Kind>("--io-engine", value,
                           std::array<std::pair<std::string_view, Kind>, 3>{
                               {{"auto", Kind::kAuto}, {"io_uring", Kind::kIoUring}, {"threads", Kind::kThreads}}});
  });
  flag("--name", [&](const std::string& value) { machine.name = value; });
  flag("--ctl", [&](const std::string& value) {
    // What has a slash is a path, and not a name.
    line.control_path = value.find('/') == std::string::npos ? "./" + value : value;
  });
  flag("--vmcore", [&](const std::string& value) { line.vmcore = value; });
  flag("--trace", [&](const std::string& value) {
    if (const auto areas = parse_trace_areas(value)) {
      line.traced.insert(line.traced.end(), areas->begin(), areas->end());
      return;
    }
    line.trace = value;
    machine.trace = true;
  });
  flag("--log", [&](const std::string& value) { line.log_file = value; });
  toggle("--no-rng", [&] { machine.rng = false; });
  toggle("--paused", [&] { machine.paused = true; });
  toggle("--dry-run", [&] { line.dry_run = true; });
  toggle("--verbose", [&] { line.verbose = true; });
}

// CLI11 says "--kernel: 1 required TEXT missing", and "tap was given a disallowed flag override".
Error refuse_mismatch(std::string_view message) {
  const std::string_view flag = message.substr(0, message.find_first_of(": "));
  const bool takes_value = flag.starts_with("--");
  return Error(fmt::format("{}{} {} value", takes_value ? "" : "--", flag, takes_value ? "needs a" : "takes no"),
               "vmm --help lists all options");
}

}  // namespace

std::vector<std::string> take_run_flags(std::vector<std::string> arguments, CommandLine& line) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  add_run_flags(app, line);
  std::ranges::reverse(arguments);  // as CLI11 wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ArgumentMismatch& error) {
    throw refuse_mismatch(error.what());
  } catch (const CLI::ParseError& error) {
    throw Error(error.what(), "vmm --help lists all options");
  }
  std::vector<std::string> unknown = app.remaining();
  // CLI11 is not told of it, or it would read "-vga" as -v, -g and -a.
  if (std::erase(unknown, "-v") > 0) line.verbose = true;
  return unknown;
}

uint64_t parse_size(std::string_view flag, const std::string& text) {
  constexpr std::array<std::pair<char, int>, 4> kUnits{{{'K', 10}, {'M', 20}, {'G', 30}, {'T', 40}}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  if (unit.ends_with("iB")) unit.resize(unit.size() - 2);
  if (unit.ends_with('B')) unit.resize(unit.size() - 1);
  const char letter = unit.empty() ? 'M' : static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0])));
  const auto known = std::ranges::find(kUnits, letter, &std::pair<char, int>::first);
  const double bytes = known == kUnits.end() ? -1 : number * static_cast<double>(uint64_t{1} << known->second);
  if (error != std::errc() || unit.size() > 1 || !(bytes >= 0) || bytes >= 0x1p63) {
    throw Error(fmt::format("{}: '{}' is no size", flag, text), fmt::format("{} 1G", flag));
  }
  return static_cast<uint64_t>(bytes);
}

const std::map<std::string, bool, std::less<>>& run_flags() {
  static const std::map<std::string, bool, std::less<>> flags = [] {
    std::map<std::string, bool, std::less<>> names;
    CommandLine line;
    CLI::App app;
    app.set_help_flag();
    add_run_flags(app, line);
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& long_name : option->get_lnames())
        names.emplace(long_name, option->get_expected_max() > 0);
    }
    return names;
  }();
  return flags;
}

std::optional<bool> run_flag_takes_value(std::string_view name) {
  const auto found = run_flags().find(name);
  return found == run_flags().end() ? std::nullopt : std::optional(found->second);
}

}  // namespace vmm
