// CapturedLog: what vmm tells, for tests that read it.
#pragma once

#include <unistd.h>

#include <csignal>
#include <string>

#include "tests/support/descriptors.h"
#include "vmm/core/log.h"

namespace vmm::test {

// While it lives, the log goes into a pipe.
struct CapturedLog {
  CapturedLog() {
    ::signal(SIGPIPE, SIG_IGN);
    set_log_fd(pipe.write.get());
  }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;
  ~CapturedLog() {
    set_log_fd(STDERR_FILENO);
    set_log_level(LogLevel::kInfo);
  }
  // Since it was asked before.
  std::string lines() { return read_available(pipe.read); }

  Pipe pipe;
};

}  // namespace vmm::test
