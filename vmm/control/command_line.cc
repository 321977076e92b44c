// Reading the command line with CLI11; see command_line.h.
#include "vmm/control/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <span>
#include <utility>

#include "devices/backends/option_list.h"
#include "firmware/kernel_format.h"
#include "vmm/control/foreign_flags.h"
#include "vmm/core/error.h"
#include "vmm/kvm/host_cpu.h"
#include "vmm/machine/architecture.h"

namespace vmm {

namespace {

constexpr std::string_view kHelp =
    R"(vmm: run a virtual machine, and say why it ended

  vmm --kernel bzImage --disk rootfs.img          boot it, console here; with -- CMD, run that in it
  vmm test [vmm.toml] [-- CMD]                    kernels x configurations x commands; vmm test --help
  vmm inspect IMAGE | doctor | debug | boot-report F  this kernel; this host; run with gdb; a --trace
  vmm list | console|why|dmesg|stats|pause|resume|reset|nmi|kill NAME | sysrq KEY NAME | dump NAME F

What boots
  --kernel F           @KERNELS@; found by content [./@KERNEL@]
  --initrd F|auto|none initial RAM disk; auto: the kernel's modules, found in --modules DIR [as needed]
  --append S           add to the kernel's command line (repeat); --cmdline-only S replaces it
The machine
  --cpus N, --mem SIZE 1 to @CPUS@ virtual CPUs [1]; memory: 512M, 1G, ... [1G]
  --balloon SIZE       takes SIZE from it, and what it frees; ,deflate-on-oom=off ,reporting=off [none]
  --cpu MODEL          host or baseline (x86-64-v1), then ,+feature ,-feature [host]
  --disk F[,OPTIONS]   a disk (repeat): ro ephemeral direct serial=S queues=N block-size=N sparse=off
  --net NETWORK        a card (repeat): user[,fwd=2222:22] (no privileges; ssh -p 2222 root@127.0.0.1),
                       tap=NAME[,queues=N], tap-fd=N, socket=PATH, none; mac=A filter=on pcap=F [none]
  --rootfs DIR[,ro]    a directory as the root file system [with CMD and no disk: /,ro]
  --share DIR[:TAG][,ro]  for mount -t virtiofs TAG /mnt [share]; disk, net, share: vhost-user=SOCKET too
  --vsock PATH[,cid=N] a Unix socket to the guest's vsock ports ("CONNECT PORT"); PATH_PORT from it [3]
  --debug-exit PORT    a port whose write of V ends the run with status (V << 1) | 1; --no-rng
Consoles, and what CMD gets
  --serial KIND        stdio, file=F, pty, unix=F, tcp=HOST:PORT, null; ,ts ,log=F ,split-gdb=A [stdio]
  --console KIND       the same as a virtio console (hvc0), with window size (both: repeat)
  --escape KEY         ^A, ^] or none: the key before h (help), x (quit) and others [^A]
  --env NAME[=V], --cwd DIR  a variable for CMD (repeat); where it starts [/]
How it ends
  --on-reset WHAT      exit (104), reboot, pause [exit]; --on-panic exit|pause|gdb|dump; --vmcore F
  --timeout S          ends the run (124), log and stacks are shown; --hang-timeout S: hung (102) [10]
  --boot-timeout S, --idle-timeout S  the same: CMD not started by then; no output for S
  --fail-on LIST       kernel messages that fail a run that ended well (97): oops warn kasan lockup hung
                       rcu ubsan lockdep, REGEX, ktap (its tests), none [with CMD: oops,kasan,lockup]
  --allow FILE         regular expressions, one a line, of messages that are none
  --result F, --junit F, --github  the verdict in full; --exit-style simple|crosvm  as others number it
  --tap, --expect-tap  it as TAP on standard output, CMD's goes to standard error; fail if CMD's TAP does
This program (--version, --help, --dry-run: print what would run, --io-engine io_uring|threads)
  --name N, --ctl PATH, --log F, -v  its name for others; its control socket; messages to a file; more
  --gdb [unix:P|tcp::PORT], --vmlinux F, --paused  let gdb attach; symbols; start paused; --trace F
Exit status: 0 power-off, 96-104 the guest died, 124 timeout, 125 vmm failed, 130 quit, 143 SIGTERM.
)";

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

// What makes a kernel tree a place where plain `vmm` works.
std::string find_kernel() {
  const auto places = usual_kernels();
  for (const std::string_view place : places) {
    if (::access(std::string(place).c_str(), R_OK) == 0) return std::string(place);
  }
  throw Error(fmt::format("no kernel given, and no ./{} here", fmt::join(places, " or ")),
              fmt::format("vmm --kernel {}", places.front()));
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

// Where the console is when nothing was said about it.
void default_consoles(MachineConfig& machine, bool reports_on_stdout) {
  const auto is_stdio = [](const CharConfig& console) { return console.kind == CharConfig::Kind::kStdio; };
  const bool taken = std::ranges::any_of(machine.consoles, is_stdio);
  if (reports_on_stdout && (taken || std::ranges::any_of(machine.serial, is_stdio))) {
    throw Error("a console and --tap cannot both have standard output", "--serial file=serial.log");
  }
  if (!machine.serial.empty()) return;
  if (machine.command || reports_on_stdout) return machine.serial.push_back(CharConfig::parse("null"));
  // With a virtio console at the terminal the serial line stays, so that early messages and panics are seen.
  machine.serial.push_back(CharConfig::parse(taken ? "null" : "stdio"));
}

// "NAME=VALUE" as it is, "NAME" with our own value.
std::string variable(const std::string& text) {
  if (text.find('=') != std::string::npos && !text.starts_with('=')) return text;
  const char* value = text.empty() ? nullptr : std::getenv(text.c_str());
  if (value != nullptr) return text + "=" + value;
  throw Error(fmt::format("--env: there is no variable '{}' here", text), "--env NAME=VALUE");
}

// What a login would have set; later ones win.
std::vector<std::string> default_environment() {
  std::vector<std::string> variables = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                        "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh"};
  if (const char* terminal = std::getenv("TERM")) variables.push_back(std::string("TERM=") + terminal);
  return variables;
}

// Where a command starts whose root is the host's: where we are, unless the guest has something of its own there.
std::string starting_directory() {
  constexpr std::array<std::string_view, 6> kOfTheGuest{"/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp"};
  std::error_code error;
  const std::string here = std::filesystem::current_path(error).string();
  const bool hidden = std::ranges::any_of(
      kOfTheGuest, [&](std::string_view place) { return (here + "/").starts_with(std::string(place) + "/"); });
  return error || hidden ? "/" : here;
}

void name_shares(MachineConfig& machine) {
  if (machine.rootfs && machine.rootfs->tag.empty()) machine.rootfs->tag = "root";
  for (size_t i = 0; i < machine.shares.size(); ++i) {
    std::string& tag = machine.shares[i].tag;
    if (tag.empty()) tag = i == 0 ? "share" : fmt::format("share{}", i);
  }
}

// What stands after `--`.
void take_command(CommandLine& line, bool has_command, std::vector<std::string> words) {
  MachineConfig& machine = line.machine;
  if (!has_command) {
    if (!line.environment.empty()) throw Error("--env is for a command", "vmm ... --env NAME=VALUE -- CMD");
    if (!line.directory.empty()) throw Error("--cwd is for a command", "vmm ... --cwd DIR -- CMD");
    if (machine.boot_timeout.count() > 0) {
      throw Error("--boot-timeout is for a command: its start is when a guest has booted",
                  "--timeout or --idle-timeout");
    }
    if (line.expect_tap) throw Error("--expect-tap is for a command", "vmm ... --expect-tap -- CMD");
    return;
  }
  if (words.empty()) throw Error("there is no command after '--'", "vmm ... -- uname -a");
  if (machine.initrd_kind == InitrdKind::kFile || machine.initrd_kind == InitrdKind::kNone) {
    throw Error("a command is run by an initrd that vmm makes, not by one of yours", "leave --initrd out");
  }
  machine.initrd_kind = InitrdKind::kMade;
  if (machine.disks.empty() && !machine.rootfs) {
    machine.rootfs = ShareConfig{.path = "/", .read_only = true};
    if (line.directory.empty()) line.directory = starting_directory();
  }
  std::vector<std::string> environment = default_environment();
  std::ranges::move(line.environment, std::back_inserter(environment));
  machine.command = CommandConfig{.words = std::move(words),
                                  .environment = std::move(environment),
                                  .directory = line.directory.empty() ? "/" : line.directory,
                                  .output_to_errors = line.report.tap};
}

// A machine that stands still until somebody says what is next needs a way to be told.
void refuse_unreachable_pause(const CommandLine& line) {
  const auto is_stdio = [](const CharConfig& console) { return console.kind == CharConfig::Kind::kStdio; };
  const MachineConfig& machine = line.machine;
  const bool on_streams = std::ranges::any_of(machine.serial, is_stdio) ||
                          std::ranges::any_of(machine.consoles, is_stdio) ||
                          (machine.command && ::isatty(STDOUT_FILENO) != 0);
  const bool has_keys = on_streams && line.escape != "none" && ::isatty(STDIN_FILENO) != 0;
  const bool reachable = !machine.name.empty() || !line.control_path.empty() || line.debug.listen || has_keys;
  if (!line.pause_on_panic || reachable) return;
  throw Error("--on-panic pause: nobody could tell the machine to go on: it has no name, control socket, gdb or keys",
              "--name NAME, and then vmm why|dump|resume|kill NAME");
}

// The flags of a run. CLI11 calls back in the order in which they were typed; what is refused throws Error.
void add_run_flags(CLI::App& app, CommandLine& line) {
  MachineConfig& machine = line.machine;
  const auto flag = [&app](const std::string& name, std::function<void(const std::string&)> take) {
    app.add_option_function<std::vector<std::string>>(name,
                                                      [take = std::move(take)](const std::vector<std::string>& values) {
                                                        for (const std::string& value : values) take(value);
                                                      })
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  flag("--kernel", [&](const std::string& value) { machine.kernel = value; });
  flag("--initrd", [&](const std::string& value) {
    machine.initrd_kind = value == "none" ? InitrdKind::kNone : value == "auto" ? InitrdKind::kMade : InitrdKind::kFile;
    machine.initrd = machine.initrd_kind == InitrdKind::kFile ? value : std::string();
  });
  flag("--modules", [&](const std::string& value) { machine.modules = value; });
  flag("--env", [&](const std::string& value) { line.environment.push_back(variable(value)); });
  flag("--cwd", [&](const std::string& value) { line.directory = value; });
  flag("--append", [&](const std::string& value) { machine.append.push_back(value); });
  flag("--cmdline-only", [&](const std::string& value) { machine.command_line = value; });
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
  app.add_flag_callback("--github", [&] { line.report.github = true; });
  app.add_flag_callback("--tap", [&] { line.report.tap = true; });
  app.add_flag_callback("--expect-tap", [&] { line.expect_tap = true; });
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
    line.trace = value;
    machine.trace = true;
  });
  flag("--log", [&](const std::string& value) { line.log_file = value; });
  app.add_flag_callback("--no-rng", [&] { machine.rng = false; });
  app.add_flag_callback("--paused", [&] { machine.paused = true; });
  app.add_flag_callback("--dry-run", [&] { line.dry_run = true; });
  app.add_flag_callback("-v,--verbose", [&] { line.verbose = true; });
}

// What is refused where the guest's registers and kernel are not understood yet.
void require_understood(const CommandLine& line) {
  const auto refuse = [](std::string_view what) {
    throw Error(fmt::format("{} is not there for {} guests yet", what, kArchitecture.name), "leave it out");
  };
  if (!kArchitecture.has_gdb && line.debug.listen) refuse("--gdb");
  if (!kArchitecture.has_gdb && line.debug.on_panic) refuse("--on-panic gdb");
  if (!kArchitecture.has_gdb && !line.debug.vmlinux.empty()) refuse("--vmlinux");
  if (!kArchitecture.has_black_box && !line.vmcore.empty()) refuse("--vmcore");
  if (!kArchitecture.has_black_box && !line.trace.empty()) refuse("--trace");
}

void parse_run(CommandLine& line, std::vector<std::string> arguments) {
  line.report.words = arguments;
  const auto separator = std::ranges::find(arguments, "--");
  const bool has_command = separator != arguments.end();
  std::vector<std::string> command(has_command ? separator + 1 : separator, arguments.end());
  arguments.erase(separator, arguments.end());
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  add_run_flags(app, line);
  std::ranges::reverse(arguments);  // as CLI11 wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    throw Error(error.what(), "vmm --help lists all options");
  }
  const std::vector<std::string> unknown = app.remaining();
  if (!unknown.empty())
    throw unknown.front().starts_with('-') ? refuse_flag(unknown.front()) : refuse_verb(unknown.front());
  require_understood(line);
  if (line.machine.kernel.empty()) line.machine.kernel = find_kernel();
  take_command(line, has_command, std::move(command));
  // Where nobody reads the console but the judge of the log, what is less than a warning would take half of the boot's
  // time. It stays when it may be what --fail-on looks for, or when silence counts.
  const bool unread = has_command && line.machine.serial.empty() && line.machine.consoles.empty();
  if (unread && line.fail_on.empty() && line.machine.idle_timeout == line.machine.idle_timeout.zero()) {
    line.machine.append.insert(line.machine.append.begin(), "loglevel=5");
  }
  // A command may well succeed on a kernel that is falling apart.
  if (has_command && line.fail_on.empty()) line.fail_on.emplace_back("oops,kasan,lockup");
  name_shares(line.machine);
  default_consoles(line.machine, line.report.tap);
  refuse_unreachable_pause(line);
  validate(line.machine);
}

bool asks_for(const std::vector<std::string>& arguments, std::string_view flag) {
  const auto end = std::ranges::find(arguments, "--");
  return std::find(arguments.begin(), end, flag) != end;
}

}  // namespace

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

std::optional<bool> run_flag_takes_value(std::string_view name) {
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
  const auto found = flags.find(name);
  return found == flags.end() ? std::nullopt : std::optional(found->second);
}

std::string help_text() {
  std::string text(kHelp);
  const auto fill_in = [&text](std::string_view mark, std::string_view words) {
    text.replace(text.find(mark), mark.size(), words);
  };
  fill_in("@KERNELS@", kArchitecture.kernels);
  fill_in("@KERNEL@", usual_kernels().front());
  fill_in("@CPUS@", std::to_string(kArchitecture.max_cpus));
  return text;
}

CommandLine parse_command_line(std::vector<std::string> arguments) {
  CommandLine line;
  if (!arguments.empty() && arguments.front() == "test") {
    line.verb = CommandLine::Verb::kTest;
    line.test.assign(arguments.begin() + 1, arguments.end());
    return line;
  }
  if (asks_for(arguments, "--help") || asks_for(arguments, "-h")) {
    line.verb = CommandLine::Verb::kHelp;
    return line;
  }
  if (asks_for(arguments, "--version")) {
    line.verb = CommandLine::Verb::kVersion;
    return line;
  }
  const bool has_verb = !arguments.empty() && !arguments.front().starts_with('-');
  const std::string verb = has_verb ? arguments.front() : "run";
  if (has_verb) arguments.erase(arguments.begin());
  if (verb == "run" || verb == "debug") {
    line.debug.listen = line.debug.at_kernel = line.machine.paused = verb == "debug";
    parse_run(line, std::move(arguments));
  } else if (verb == "doctor") {
    line.verb = CommandLine::Verb::kDoctor;
    if (!arguments.empty()) throw Error(fmt::format("doctor takes no '{}'", arguments.front()), "vmm doctor");
  } else if (verb == "inspect") {
    line.verb = CommandLine::Verb::kInspect;
    if (arguments.size() != 1) throw Error("inspect takes one file", "vmm inspect bzImage");
    line.image = arguments.front();
  } else if (is_control_verb(verb)) {
    line.verb = CommandLine::Verb::kControl;
    line.request = parse_control_request(verb, arguments);
  } else if (verb == "boot-report") {
    line.verb = CommandLine::Verb::kBootReport;
    line.report_words = std::move(arguments);
  } else if (verb == "help") {
    line.verb = CommandLine::Verb::kHelp;
  } else {
    throw refuse_verb(verb);
  }
  return line;
}

}  // namespace vmm
