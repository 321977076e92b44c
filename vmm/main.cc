// vmm: the story from the command line to the exit code.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <exception>
#include <new>
#include <optional>
#include <string_view>

#include "vmm/blackbox/vmcore_writer.h"
#include "vmm/control/cli/banner.h"
#include "vmm/control/cli/command_line.h"
#include "vmm/control/cli/doctor.h"
#include "vmm/control/cli/help.h"
#include "vmm/control/cli/help_formats.h"
#include "vmm/control/matrix/matrix_command.h"
#include "vmm/control/session/escape_keys.h"
#include "vmm/control/session/session.h"
#include "vmm/control/socket/console_client.h"
#include "vmm/control/socket/control_address.h"
#include "vmm/control/socket/control_client.h"
#include "vmm/control/socket/control_server.h"
#include "vmm/control/trace/boot_report.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/core/new_file.h"
#include "vmm/core/signals.h"
#include "vmm/core/standard_output.h"
#include "vmm/machine/backends.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/outcome.h"

namespace {

using namespace vmm;

// Descriptors 0 to 2 exist, or the next file to be opened, perhaps a disk, would become one of them and get our
// messages.
void occupy_standard_streams() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

// A closed pipe and a file-size limit are errors of one write, not the end of the process; nor does a machine in the
// background stand still because the terminal is not its own at the moment.
void ignore_signals_of_streams() {
  for (const int number : {SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU}) ::signal(number, SIG_IGN);
}

// A machine of many queues takes an eventfd each; the soft limit is for programs that still use select(2).
void raise_open_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// It stays open until the process ends, because main() has the last word.
void open_log(const std::string& path) {
  if (path.empty()) return;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
  if (fd < 0) {
    throw Error(fmt::format("cannot open log '{}': {}", path, errno_text(errno)),
                "choose a file that can be written, or leave --log out");
  }
  set_log_fd(fd);
}

int inspect(const std::string& path) {
  for (const auto& [label, value] : KernelFile::open(path).describe()) print(fmt::format("{:<16} {}\n", label, value));
  return exit_code::kClean;
}

// The files of a console, which stay as they are.
void check_console(const CharConfig& console) {
  if (console.kind == CharConfig::Kind::kFile) NewFile::check("console", console.path);
  if (!console.log_path.empty()) NewFile::check("console's log", console.log_path);
}

// Kernel and disks are opened to see that they can be; consoles, networks and sockets are not, as that would empty
// files, greet clients and start helpers.
int dry_run(EventLoop& loop, const MachineConfig& config) {
  MachineConfig silent = config;
  silent.serial.clear();
  silent.consoles.clear();
  silent.nets.clear();
  // Some back-ends of vhost-user serve whoever connects, and end with them.
  std::erase_if(silent.disks, [](const DiskConfig& disk) { return !disk.socket.empty(); });
  std::erase_if(silent.shares, [](const ShareConfig& share) { return !share.socket.empty(); });
  if (silent.rootfs && !silent.rootfs->socket.empty()) silent.rootfs.reset();
  silent.vsock.reset();
  Backends backends(loop, silent);
  print(describe_machine(config, backends));
  for (const std::vector<CharConfig>* consoles : {&config.serial, &config.consoles}) {
    for (const CharConfig& console : *consoles) check_console(console);
  }
  // What the host's KVM, or the kernel, does not have is found out by a machine that is never started.
  const Machine machine(loop, silent, backends, [](const Outcome&) {});
  return exit_code::kClean;
}

// What cannot be written at the end of a run is better known before it begins.
void check_leavings(const CommandLine& line) {
  if (!line.trace.empty()) NewFile::check("--trace", line.trace);
  if (!line.vmcore.empty()) check_vmcore_path(line.vmcore);
}

// Empty when nobody is to find the machine.
std::string control_socket(const CommandLine& line) {
  if (!line.control_path.empty()) return line.control_path;
  return line.machine.name.empty() ? std::string() : control_path(line.machine.name);
}

int run(const CommandLine& line) {
  open_log(line.log_file);
  EscapeKeys keys = EscapeKeys::parse(line.escape);
  EventLoop loop;
  line.report.check();
  if (line.dry_run) {
    check_leavings(line);
    return dry_run(loop, line.machine);
  }
  try {
    check_leavings(line);
    Backends backends(loop, line.machine);
    Session session(loop, line, backends, keys);
    std::optional<ControlServer> control;
    if (const std::string path = control_socket(line); !path.empty()) control.emplace(loop, path, session);
    session.set_on_event([&control](std::string_view event) {
      if (control) control->announce(event);
    });
    const Outcome outcome = session.run();
    line.report.write(session.result());
    if (!line.trace.empty()) write_whole_file(line.trace, to_json(session.trace()));
    return line.report.exit_code(outcome);
  } catch (const Error& error) {
    // A harness that waits for a result gets one.
    RunResult result;
    result.verdict = verdict_name({.kind = Outcome::Kind::kHostTrouble});
    result.reason = error.what();
    result.exit_code = exit_code::kHostTrouble;
    result.kernel = line.machine.kernel;
    result.reproduce = "vmm " + shell_line(line.report.words);
    line.report.write(result);
    throw;
  }
}

int obey(const CommandLine& line) {
  if (line.verbose) set_log_level(LogLevel::kDebug);
  for (const TraceArea area : line.traced) set_traced(area, true);
  switch (line.verb) {
    case CommandLine::Verb::kRun:
      return run(line);
    case CommandLine::Verb::kTest:
      return run_tests(parse_test_command(line.test));
    case CommandLine::Verb::kInspect:
      return inspect(line.image);
    case CommandLine::Verb::kDoctor:
      return run_doctor();
    case CommandLine::Verb::kControl:
      if (line.request.verb == "console") return visit_console(line.request);
      print(ask(line.request));
      return exit_code::kClean;
    case CommandLine::Verb::kBootReport:
      print(boot_report(line.report_words));
      return exit_code::kClean;
    case CommandLine::Verb::kHelp:
      print(line.help_format.empty() ? help_text() : formatted_help(line.help_format, VMM_VERSION));
      return exit_code::kClean;
    case CommandLine::Verb::kVersion:
      print("vmm " VMM_VERSION "\n");
      return exit_code::kClean;
  }
  return exit_code::kHostTrouble;
}

void complain(std::string_view what, std::string_view fix = {}) {
  log_error("{}", what);
  if (!fix.empty()) log_error("  fix: {}", fix);
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  set_log_fd(STDERR_FILENO);
  reset_inherited_signals();
  ignore_signals_of_streams();
  raise_open_file_limit();
  try {
    const int code = obey(parse_command_line({argv + 1, argv + argc}));
    finish_print();
    return code;
  } catch (const Error& error) {
    complain(error.what(), error.fix());
  } catch (const std::bad_alloc&) {
    complain("the host has no memory left");
  } catch (const std::exception& error) {
    complain(error.what());
  }
  return exit_code::kHostTrouble;
}
