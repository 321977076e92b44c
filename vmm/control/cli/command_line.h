// The command line: verbs and flags, as a value.
//
// What is not understood is refused with the nearest thing that would be: QEMU's options get their equivalent here, and
// flags of the interface that are not built yet say so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/gdb/gdb_address.h"
#include "vmm/control/socket/control_client.h"
#include "vmm/control/verdict/result.h"
#include "vmm/core/trace.h"
#include "vmm/machine/config.h"

namespace vmm {

struct CommandLine {
  enum class Verb { kRun, kTest, kInspect, kDoctor, kControl, kBootReport, kHelp, kVersion };

  Verb verb = Verb::kRun;
  MachineConfig machine;                  // kRun
  std::vector<std::string> test;          // kTest: its words, for control/matrix/matrix_command.h
  std::string image;                      // kInspect
  std::string help_format;                // kHelp: for control/cli/help_formats.h; empty: the text
  std::vector<std::string> report_words;  // kBootReport: for control/boot_report.h
  std::string trace;                      // of --trace: a file; empty: none
  std::vector<TraceArea> traced;          // of --trace: words
  ControlRequest request;                 // kControl
  std::string control_path;               // of --ctl: where the machine is found, besides its name
  std::string escape = "^A";              // control/escape_keys.h
  std::vector<std::string> environment;   // of --env; what comes of them is in machine.command
  std::string directory;                  // of --cwd
  std::vector<std::string> fail_on;       // control/log_judge.h
  std::vector<std::string> allow_files;   // the same
  DebugConfig debug;
  ReportConfig report;
  bool pause_on_panic = false;
  std::string vmcore;    // of --vmcore: where a guest that dies leaves its memory; empty: nowhere
  std::string log_file;  // empty: standard error
  bool verbose = false;
  bool dry_run = false;
  bool expect_tap = false;  // the command prints TAP, which decides with its status

  bool reads_tap() const { return expect_tap || report.tap; }
};

// Throws Error. `arguments` without the program's name.
CommandLine parse_command_line(std::vector<std::string> arguments);

}  // namespace vmm
