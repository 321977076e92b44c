// Verbs, and what the flags of a run come to together; see command_line.h.
#include "vmm/control/cli/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <utility>

#include "firmware/kernel_format.h"
#include "vmm/control/cli/foreign_flags.h"
#include "vmm/control/cli/run_flags.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/machine/architecture.h"

namespace vmm {

namespace {

// What makes a kernel tree a place where plain `vmm` works.
std::string find_kernel() {
  const auto places = usual_kernels();
  for (const std::string_view place : places) {
    if (::access(std::string(place).c_str(), R_OK) == 0) return std::string(place);
  }
  throw Error(fmt::format("no kernel given, and no ./{} here", fmt::join(places, " or ")),
              fmt::format("vmm --kernel {}", places.front()));
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

// What a login would have set.
std::vector<std::string> default_environment() {
  std::vector<std::string> variables = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                        "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh"};
  if (const char* terminal = std::getenv("TERM")) variables.push_back(std::string("TERM=") + terminal);
  return variables;
}

// A name has one value, the last: of two, some programs would take the first.
void set_variable(std::vector<std::string>& environment, std::string variable) {
  const std::string_view name = std::string_view(variable).substr(0, variable.find('=') + 1);
  std::erase_if(environment, [name](const std::string& earlier) { return earlier.starts_with(name); });
  environment.push_back(std::move(variable));
}

// Where a command starts whose root is the host's: where we are. Of what only shows the kernel at work, the guest has
// its own.
std::string starting_directory() {
  std::error_code error;
  std::string here = std::filesystem::current_path(error).string();
  if (error) return "/";
  const bool of_kernel = (here + "/").starts_with("/proc/") || (here + "/").starts_with("/sys/");
  if (!of_kernel) return here;
  log_info("{} is the guest's own in the guest: the command starts in /", here);
  log_info("  fix: --cwd DIR");
  return "/";
}

bool is_host_root(const ShareConfig& share) {
  std::error_code error;
  return share.socket.empty() && std::filesystem::equivalent(share.path, "/", error);
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
  }
  if (line.directory.empty() && machine.rootfs && is_host_root(*machine.rootfs)) line.directory = starting_directory();
  std::vector<std::string> environment = default_environment();
  for (std::string& variable : line.environment) set_variable(environment, std::move(variable));
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

void refuse_unknowable_trace(const CommandLine& line) {
  if (!kArchitecture.knows_exit_pc && !line.trace.empty()) {
    throw Error(fmt::format("--trace: KVM does not tell where {} guests are at an exit", kArchitecture.name),
                "--trace kvm,mmio,virtio");
  }
  if (!kArchitecture.has_ports && std::ranges::find(line.traced, TraceArea::kPio) != line.traced.end()) {
    throw Error(fmt::format("--trace pio: {} guests have no ports", kArchitecture.name), "--trace mmio");
  }
}

void parse_run(CommandLine& line, std::vector<std::string> arguments) {
  line.report.words = arguments;
  const auto separator = std::ranges::find(arguments, "--");
  const bool has_command = separator != arguments.end();
  std::vector<std::string> command(has_command ? separator + 1 : separator, arguments.end());
  arguments.erase(separator, arguments.end());
  const std::vector<std::string> unknown = take_run_flags(std::move(arguments), line);
  if (!unknown.empty())
    throw unknown.front().starts_with('-') ? refuse_flag(unknown.front()) : refuse_verb(unknown.front());
  refuse_unknowable_trace(line);
  if (line.machine.kernel.empty()) line.machine.kernel = find_kernel();
  take_command(line, has_command, std::move(command));
  // Where nobody reads the console but the judge of the log, what is less than a warning would take half of the boot's
  // time. It stays when it may be what --fail-on looks for, or when silence counts.
  const bool unread = has_command && line.machine.serial.empty() && line.machine.consoles.empty();
  if (unread && line.fail_on.empty() && line.machine.idle_timeout == line.machine.idle_timeout.zero()) {
    line.machine.append.insert(line.machine.append.begin(), "loglevel=5");
  }
  // A command may well succeed on a kernel that is falling apart.
  if (has_command) line.fail_on.insert(line.fail_on.begin(), "oops,kasan,lockup");
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
    constexpr std::string_view kFormat = "--format=";
    if (!arguments.empty() && arguments.front().starts_with(kFormat)) {
      line.help_format = arguments.front().substr(kFormat.size());
    }
  } else {
    throw refuse_verb(verb);
  }
  return line;
}

}  // namespace vmm
