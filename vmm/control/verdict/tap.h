// TAP and KTAP, the line formats in which test programs say what they found: a parser and the words of a writer.
//
//   TAP version 14 | KTAP version 1
//   1..2                        the plan: so many results will come
//     1..1                      a level of subtests is indented, and comes before the result that sums it up
//     ok 1 - inner
//   ok 1 - outer
//   not ok 2 - other # TODO why
//
// The parser follows TAP 14 (testanything.org) and the kernel's Documentation/dev-tools/ktap.rst, where they differ
// both. What it reads comes from a guest: lines are cut, levels and cases are bounded, and what is no TAP is passed
// over. A stream is good when its plan came true, nothing failed that was not excused, and nobody bailed out.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

struct TapCase {
  enum class Status { kPassed, kFailed, kSkipped, kTodo };  // kTodo: it was expected to fail (TODO, XFAIL)

  std::string name;  // with those of the cases it is a part of: "outer/inner"
  Status status = Status::kPassed;
  std::string reason;  // of a skip or a TODO
};

// "pass", "fail", "skip", "todo".
std::string_view status_name(TapCase::Status status);
std::optional<TapCase::Status> status_of_name(std::string_view name);

// "2 of 10 failed, the first is a/b", "planned 4 results, 3 came"; empty when nothing failed and there is no problem.
std::string tap_verdict(size_t results, size_t failed, const std::vector<TapCase>& cases,
                        const std::vector<std::string>& problems);

class TapParser {
 public:
  static constexpr size_t kMaxLine = 1024;  // what is longer is cut
  static constexpr size_t kMaxCases = 10'000;
  static constexpr size_t kMaxDepth = 16;
  static constexpr size_t kMaxName = 512;
  static constexpr size_t kMaxProblems = 16;

  // Bytes as they come, in pieces of any size.
  void feed(std::string_view bytes);
  // The stream is over. Nothing may be fed after that.
  void finish();
  // A new stream.
  void reset() { *this = TapParser(); }

  // The cases in the order of their results; the first kMaxCases of them.
  const std::vector<TapCase>& cases() const { return cases_; }
  // What is wrong with the stream itself, in words: a plan that did not come true, a number that came twice, ...
  const std::vector<std::string>& problems() const { return problems_; }
  size_t results() const { return results_; }
  size_t failed() const { return failed_; }
  bool good() const { return failed_ == 0 && problems_.empty(); }
  // Have all results come that the outermost plan promised?
  bool complete() const;
  // Was there anything of TAP?
  bool any() const { return any_; }
  std::string verdict() const { return tap_verdict(results_, failed_, cases_, problems_); }

 private:
  struct Level {
    size_t indent = 0;
    std::optional<size_t> plan;
    size_t results = 0;
    size_t first_child = 0;  // the case with which the parts of the next result begin
    std::vector<bool> seen;  // numbers of results, the first kMaxCases
  };

  void take_line();
  void on_plan(size_t indent, std::string_view text);
  void on_result(size_t indent, std::string_view text, bool ok);
  void note_number(Level& level, size_t number);
  void adopt_children(const Level& level, const TapCase& parent);
  Level* level_at(size_t indent);
  void close_level();
  void problem(std::string text);

  std::string line_;
  std::vector<Level> levels_;
  std::vector<TapCase> cases_;
  std::vector<std::string> problems_;
  std::optional<size_t> yaml_;         // the indent of the block we are in
  std::optional<size_t> last_result_;  // the indent of the result that was the line before
  size_t results_ = 0;
  size_t failed_ = 0;
  bool any_ = false;
  bool planned_ = false;  // at the outermost level
  bool bailed_ = false;
};

// A line of description to be written, without what would be read as something else.
std::string tap_text(std::string_view text);
// "ok 1 - name" or "not ok 1 - name # TODO why", with a newline, after `indent` blanks.
std::string tap_line(size_t indent, size_t number, const TapCase& result);
// The text as diagnostic lines, "# ...", each with a newline.
std::string tap_comment(std::string_view text);

}  // namespace vmm
