// The kernel's words for each kind of trouble; see log_judge.h.
#include "vmm/control/verdict/log_judge.h"

#include <fmt/core.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "vmm/core/error.h"
#include "vmm/core/small_file.h"

namespace vmm {

namespace {

struct Kind {
  std::string_view name;
  std::string_view pattern;
};

// From kernel/panic.c, arch/x86/kernel/dumpstack.c, arch/x86/mm/fault.c, lib/bug.c, mm/kasan/report.c, lib/ubsan.c,
// kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h and kernel/locking/lockdep.c.
constexpr auto kKinds = std::to_array<Kind>({
    {"panic", "Kernel panic - not syncing"},
    {"oops",
     "Oops: |BUG: unable to handle|BUG: kernel NULL pointer|kernel BUG at |general protection fault|"
     "double fault: |invalid opcode: "},
    {"warn", "WARNING: CPU: |WARNING: .* at .*:[0-9]+"},
    {"kasan", "BUG: K[A-Z]SAN: |BUG: KFENCE: "},
    {"lockup", "soft lockup|hard LOCKUP|watchdog: Watchdog detected"},
    {"hung", "INFO: task .* blocked for more than"},
    {"rcu", "rcu.*detected stalls|rcu.*self-detected stall|suspicious RCU usage"},
    {"ubsan", "UBSAN: "},
    {"lockdep",
     "possible circular locking|possible recursive locking|inconsistent lock state|possible irq lock inversion|"
     "bad unlock balance|sleeping function called from invalid context|scheduling while atomic"},
});

constexpr std::string_view kKtap = "ktap";

std::unique_ptr<re2::RE2> compile(std::string_view flag, std::string_view pattern) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_encoding(RE2::Options::EncodingLatin1);  // a console prints bytes
  auto compiled = std::make_unique<RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (!compiled->ok()) {
    throw Error(fmt::format("{}: '{}' is no regular expression: {}", flag, pattern, compiled->error()),
                fmt::format("{} {}", flag, flag == "--fail-on" ? LogJudge::kinds() : "FILE, one expression a line"));
  }
  return compiled;
}

// Is this the comma of an expression's {1,9}? Cut there, each half would be an expression, too, that matches nothing.
bool is_of_count(std::string_view words, size_t comma) {
  const size_t before = words.substr(0, comma).find_last_not_of("0123456789");
  return before != std::string_view::npos && before + 1 < comma && words[before] == '{';
}

size_t word_end(std::string_view words) {
  size_t comma = words.find(',');
  while (comma != std::string_view::npos && is_of_count(words, comma)) comma = words.find(',', comma + 1);
  return std::min(comma, words.size());
}

bool matches(const RE2& pattern, std::string_view line) {
  return RE2::PartialMatch(re2::StringPiece(line.data(), line.size()), pattern);
}

}  // namespace

LogJudge::LogJudge() = default;

LogJudge::LogJudge(std::span<const std::string> fail_on, std::span<const std::string> allow_files) {
  for (const std::string& words : fail_on) this->fail_on(words);
  for (const std::string& path : allow_files) allow_file(path);
}

LogJudge::~LogJudge() = default;

std::string LogJudge::kinds() {
  std::string names;
  for (const Kind& kind : kKinds) names += (names.empty() ? "" : ",") + std::string(kind.name);
  return names + "," + std::string(kKtap);
}

void LogJudge::fail_on(std::string_view words) {
  while (!words.empty()) {
    const std::string_view word = words.substr(0, word_end(words));
    words.remove_prefix(std::min(words.size(), word.size() + 1));
    if (word.empty() || word == "none") continue;
    if (word == kKtap) {
      wants_ktap_ = true;
      continue;
    }
    const auto known = std::ranges::find(kKinds, word, &Kind::name);
    rules_.push_back({std::string(word), compile("--fail-on", known == kKinds.end() ? word : known->pattern)});
  }
}

void LogJudge::allow(std::string_view pattern) { allowed_.push_back(compile("--allow", pattern)); }

void LogJudge::allow_file(const std::string& path) {
  std::istringstream text(read_small_file("--allow", path, "--allow FILE, one regular expression a line"));
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && !line.starts_with('#')) allow(line);
  }
}

void LogJudge::look_at(std::string_view line) {
  if (offence_) return;
  const auto rule = std::ranges::find_if(rules_, [line](const Rule& one) { return matches(*one.pattern, line); });
  if (rule == rules_.end()) return;
  if (std::ranges::any_of(allowed_, [line](const auto& pattern) { return matches(*pattern, line); })) return;
  offence_ = Offence{rule->kind, std::string(line)};
}

}  // namespace vmm
