// KtapLog: the tests that a guest reports by itself, in KTAP, among whatever else is in its log or on its console:
// KUnit when it boots, kselftest, any script that writes "ok 1 name". See the kernel's
// Documentation/dev-tools/ktap.rst.
//
// A document begins with a version line that is not indented, and is over when the results that its plan promised have
// come, or the next one begins. What is between documents is not looked at, so that prose is not taken for a result.
// The time stamp that the kernel writes before each line is taken away.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/verdict/tap.h"

namespace vmm {

class KtapLog {
 public:
  // One line, without its newline. It comes from a guest.
  void line(std::string_view line);
  // There are no more.
  void finish() { end_document(); }

  bool any() const { return documents_ > 0; }
  // Cases of all documents, in order; the first TapParser::kMaxCases of them.
  const std::vector<TapCase>& cases() const { return cases_; }
  const std::vector<std::string>& problems() const { return problems_; }
  // One line of what failed, as TapParser::verdict(); also when there is no KTAP at all. Empty when all is well.
  std::string verdict() const;

 private:
  void end_document();

  TapParser document_;
  bool open_ = false;
  size_t documents_ = 0;
  size_t results_ = 0;
  size_t failed_ = 0;
  std::vector<TapCase> cases_;
  std::vector<std::string> problems_;
};

}  // namespace vmm
