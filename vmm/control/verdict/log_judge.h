// LogJudge: kernel messages that make a run fail although it ended well (--fail-on), and those that are known and
// excused (--allow).
//
// Lines come from consoles and from the log in the guest's memory, so patterns are matched in linear time (RE2): no
// line of a guest can keep us busy.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace vmm {

class LogJudge {
 public:
  struct Offence {
    std::string kind;  // "oops", "warn", ..., or the pattern itself
    std::string line;
  };

  LogJudge();
  // A judge of what --fail-on and --allow say. Throws Error.
  LogJudge(std::span<const std::string> fail_on, std::span<const std::string> allow_files);
  LogJudge(const LogJudge&) = delete;
  LogJudge& operator=(const LogJudge&) = delete;
  ~LogJudge();

  // What --fail-on says: kinds and regular expressions, separated by commas, which are added to those said before;
  // "none" forgets these. "ktap" is the tests that the guest reports (ktap_log.h). Throws Error.
  void fail_on(std::string_view words);
  // A line that one of these regular expressions matches is no offence. Throws Error.
  void allow(std::string_view pattern);
  // Allows each line of a file; empty lines and those that begin with # say nothing.
  void allow_file(const std::string& path);

  bool wants_anything() const { return !rules_.empty() || wants_ktap_; }
  bool wants_ktap() const { return wants_ktap_; }
  // Looks at one line. The first offence is kept.
  void look_at(std::string_view line);
  const std::optional<Offence>& offence() const { return offence_; }
  void forget() { offence_.reset(); }

  // The kinds there are, for help and messages.
  static std::string kinds();

 private:
  struct Rule {
    std::string kind;
    std::unique_ptr<re2::RE2> pattern;
  };
  std::vector<Rule> rules_;
  std::vector<std::unique_ptr<re2::RE2>> allowed_;
  bool wants_ktap_ = false;
  std::optional<Offence> offence_;
};

}  // namespace vmm
