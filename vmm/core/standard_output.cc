// stdio's stdout, with a memory for errors; see standard_output.h.
#include "vmm/core/standard_output.h"

#include <cerrno>
#include <cstdio>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/new_file.h"

namespace vmm {

namespace {

int first_failure = 0;  // errno

void remember(bool written) {
  if (!written && first_failure == 0) first_failure = errno;
}

}  // namespace

void print(std::string_view text) { remember(std::fwrite(text.data(), 1, text.size(), stdout) == text.size()); }

void flush_print() { remember(std::fflush(stdout) == 0); }

void finish_print() {
  flush_print();
  const int error = std::exchange(first_failure, 0);
  if (error == 0 || error == EPIPE) return;
  throw Error("cannot write to standard output: " + errno_text(error),
              fix_for_growth(error, "send it where there is room"));
}

}  // namespace vmm
