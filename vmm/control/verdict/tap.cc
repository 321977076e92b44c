// Reading and writing TAP; see tap.h.
#include "vmm/control/verdict/tap.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace vmm {

namespace {

using Status = TapCase::Status;

constexpr std::array<std::pair<Status, std::string_view>, 4> kStatusNames{
    {{Status::kPassed, "pass"}, {Status::kFailed, "fail"}, {Status::kSkipped, "skip"}, {Status::kTodo, "todo"}}};

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

// Takes a decimal number off the front.
std::optional<size_t> take_number(std::string_view& text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

// "ok" but not "okay".
bool take_word(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  const std::string_view rest = text.substr(word.size());
  if (!rest.empty() && rest.front() != ' ' && rest.front() != '\t') return false;
  text = trimmed(rest);
  return true;
}

// Takes a directive's word, which may be written in any case.
bool take_directive(std::string_view& text, std::string_view word) {
  const auto equal = [](char a, char b) { return (a >= 'a' && a <= 'z' ? a - 'a' + 'A' : a) == b; };
  if (text.size() < word.size() || !std::ranges::equal(text.substr(0, word.size()), word, equal)) return false;
  const std::string_view rest = text.substr(word.size());
  // "# SKIP: why" and "# skipped" are seen in the wild.
  const size_t end = std::min(rest.size(), rest.find_first_of(" :"));
  if (end > 0 && word != "SKIP") return false;
  text = trimmed(rest.substr(std::min(rest.size(), rest.find_first_not_of(": ", end))));
  return true;
}

// Where the directive begins: the last '#' after a blank that no backslash takes the meaning from.
size_t directive_at(std::string_view text) {
  for (size_t at = text.rfind('#'); at != std::string_view::npos; at = at == 0 ? at : text.rfind('#', at - 1)) {
    if (at == 0 || text[at - 1] == ' ') return at;
  }
  return std::string_view::npos;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '#' || text[i + 1] == '\\')) ++i;
    out += text[i];
  }
  return out;
}

}  // namespace

std::string_view status_name(TapCase::Status status) {
  return std::ranges::find(kStatusNames, status, &std::pair<Status, std::string_view>::first)->second;
}

std::optional<TapCase::Status> status_of_name(std::string_view name) {
  const auto* found = std::ranges::find(kStatusNames, name, &std::pair<Status, std::string_view>::second);
  return found == kStatusNames.end() ? std::nullopt : std::optional(found->first);
}

void TapParser::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = std::min(bytes.size(), bytes.find('\n'));
    line_.append(bytes.substr(0, std::min(end, kMaxLine - line_.size())));
    if (end == bytes.size()) return;
    take_line();
    line_.clear();
    bytes.remove_prefix(end + 1);
  }
}

void TapParser::finish() {
  if (!line_.empty()) take_line();
  line_.clear();
  while (!levels_.empty()) close_level();
  if (bailed_) return;
  if (!any_) {
    problem("there is no TAP in the output");
  } else if (!planned_) {
    problem("there is no plan (1..N), so results may be missing");
  }
}

void TapParser::take_line() {
  std::string_view text = line_;
  if (text.ends_with('\r')) text.remove_suffix(1);
  const size_t indent = std::min(text.size(), text.find_first_not_of(' '));
  text.remove_prefix(indent);
  const std::optional<size_t> after = std::exchange(last_result_, std::nullopt);
  // A block of YAML belongs to the result before it, and may hold anything.
  if (yaml_ && indent >= *yaml_) {
    if (text == "...") yaml_.reset();
    return;
  }
  yaml_.reset();
  if (text == "---" && after && indent > *after) {
    yaml_ = indent;
  } else if (bailed_) {
    return;
  } else if (take_word(text, "not ok")) {
    on_result(indent, text, false);
  } else if (take_word(text, "ok")) {
    on_result(indent, text, true);
  } else if (text.starts_with("1..")) {
    on_plan(indent, text.substr(3));
  } else if (text.starts_with("Bail out!")) {
    any_ = bailed_ = true;
    const std::string_view why = trimmed(text.substr(9));
    problem(fmt::format("the tests bailed out{}{}", why.empty() ? "" : ": ", why));
  } else if (text.starts_with("TAP version ") || text.starts_with("KTAP version ")) {
    any_ = true;
    level_at(indent);
  }
}

void TapParser::on_plan(size_t indent, std::string_view text) {
  const std::optional<size_t> count = take_number(text);
  text = trimmed(text);
  if (!count || (!text.empty() && !text.starts_with('#'))) return;
  Level* level = level_at(indent);
  if (level == nullptr) return;
  any_ = true;
  if (level->plan) return problem(fmt::format("there are two plans, 1..{} and 1..{}", *level->plan, *count));
  level->plan = count;
}

void TapParser::on_result(size_t indent, std::string_view text, bool ok) {
  const std::optional<size_t> number = take_number(text);
  // An indented line without a number is more likely prose.
  if (!number && indent > 0) return;
  Level* level = level_at(indent);
  if (level == nullptr) return;
  any_ = true;
  last_result_ = indent;
  ++level->results;
  ++results_;
  if (number) note_number(*level, *number);

  text = trimmed(text);
  if (text.starts_with("- ")) text = trimmed(text.substr(2));
  TapCase result{.status = ok ? Status::kPassed : Status::kFailed};
  const size_t directive = directive_at(text);
  if (directive != std::string_view::npos) {
    std::string_view words = trimmed(text.substr(directive + 1));
    const bool skipped = take_directive(words, "SKIP");
    if (skipped || take_directive(words, "TODO") || take_directive(words, "XFAIL")) {
      result.status = skipped ? Status::kSkipped : ok ? Status::kPassed : Status::kTodo;
      result.reason = unescaped(words);
      text = trimmed(text.substr(0, directive));
    }
  }
  result.name = text.empty() ? fmt::format("test {}", number.value_or(level->results)) : unescaped(text);
  result.name.resize(std::min(result.name.size(), kMaxName));
  adopt_children(*level, result);
  if (result.status == Status::kFailed) ++failed_;
  if (cases_.size() < kMaxCases) cases_.push_back(std::move(result));
  level->first_child = cases_.size();
}

void TapParser::note_number(Level& level, size_t number) {
  if (number == 0 || number > kMaxCases) return;
  if (level.seen.size() < number) level.seen.resize(number);
  if (level.seen[number - 1]) problem(fmt::format("there are two results with the number {}", number));
  level.seen[number - 1] = true;
}

// What failed within something that was expected to fail is excused with it.
void TapParser::adopt_children(const Level& level, const TapCase& parent) {
  for (size_t i = level.first_child; i < cases_.size(); ++i) {
    TapCase& child = cases_[i];
    child.name.insert(0, parent.name + "/");
    child.name.resize(std::min(child.name.size(), kMaxName));
    if (child.status != Status::kFailed || parent.status != Status::kTodo) continue;
    child.status = Status::kTodo;
    --failed_;
  }
}

// The level whose lines have this indent, after those further in are closed; null when it would be too deep.
TapParser::Level* TapParser::level_at(size_t indent) {
  while (!levels_.empty() && levels_.back().indent > indent) close_level();
  if (!levels_.empty() && levels_.back().indent == indent) return &levels_.back();
  if (levels_.size() == kMaxDepth) {
    problem("the subtests are nested too deeply");
    return nullptr;
  }
  return &levels_.emplace_back(Level{.indent = indent, .first_child = cases_.size()});
}

void TapParser::close_level() {
  const Level& level = levels_.back();
  if (level.plan && *level.plan != level.results && !bailed_) {
    problem(fmt::format("planned {} result{}, {} came", *level.plan, *level.plan == 1 ? "" : "s", level.results));
  } else if (level.plan && level.seen.size() > *level.plan && !bailed_) {
    problem(fmt::format("planned 1..{}, but a result has the number {}", *level.plan, level.seen.size()));
  }
  // Subtests may come before the first line of the level that they belong to: the last to close is the outermost.
  planned_ = level.plan.has_value();
  levels_.pop_back();
}

void TapParser::problem(std::string text) {
  if (problems_.size() < kMaxProblems) problems_.push_back(std::move(text));
}

bool TapParser::complete() const {
  return levels_.size() == 1 && levels_.front().plan && levels_.front().results >= *levels_.front().plan;
}

std::string tap_verdict(size_t results, size_t failed, const std::vector<TapCase>& cases,
                        const std::vector<std::string>& problems) {
  if (failed == 0) return problems.empty() ? std::string() : problems.front();
  const auto first = std::ranges::find(cases, Status::kFailed, &TapCase::status);
  return fmt::format("{} of {} failed{}{}", failed, results,
                     first == cases.end() ? "" : ", the first is " + first->name,
                     problems.empty() ? "" : "; " + problems.front());
}

std::string tap_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '#' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? ' ' : c;
  }
  return out;
}

std::string tap_line(size_t indent, size_t number, const TapCase& result) {
  const bool ok = result.status == Status::kPassed || result.status == Status::kSkipped;
  std::string line = fmt::format("{:{}}{} {} - {}", "", indent, ok ? "ok" : "not ok", number, tap_text(result.name));
  if (result.status == Status::kSkipped) line += " # SKIP " + tap_text(result.reason);
  if (result.status == Status::kTodo) line += " # TODO " + tap_text(result.reason);
  while (line.ends_with(' ')) line.pop_back();
  return line + "\n";
}

std::string tap_comment(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.size(), text.find('\n'));
    out += "# ";
    for (const char c : text.substr(0, end)) out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    out += '\n';
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return out;
}

}  // namespace vmm
