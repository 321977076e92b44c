// `vmm test`: its words, and the story from them to the exit status.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/matrix/matrix_file.h"

namespace vmm {

struct MatrixCommand {
  std::optional<std::string> file;   // else ./vmm.toml, where there is one
  RunSettings settings;              // flags of `vmm run`, which hold for every test
  std::vector<std::string> kernels;  // in place of the file's
  std::vector<std::string> words;    // in place of the file's commands
  MatrixOptions options;             // over the file's
  std::string output = "vmm-test";
  std::string json;   // a file; empty: none
  std::string junit;  // the same
  bool tap = false;   // on standard output, and what is for people on standard error
  bool help = false;

  // The file, with what the command line says in place of its axes and options.
  MatrixFile merged_into(MatrixFile from) const;
};

// Throws Error. `arguments` without "test".
MatrixCommand parse_test_command(const std::vector<std::string>& arguments);

// What `vmm test --help` prints.
std::string_view test_help_text();

// Runs all there is to run and reports it; the exit status. Throws Error when it cannot.
int run_tests(const MatrixCommand& command);

}  // namespace vmm
