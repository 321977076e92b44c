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
  std::string_view pattern;  // of a line's beginning
};

// The kernel's words as Linux 6.1 to 7.2 have them: kernel/panic.c, arch/x86/kernel/{dumpstack,traps}.c,
// arch/x86/mm/fault.c, arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c, lib/bug.c, lib/ubsan.c,
// mm/{page_alloc,memory}.c, mm/kasan/report.c, mm/kfence/report.c, kernel/{watchdog,workqueue,hung_task}.c,
// kernel/rcu/{tree_stall,tree_exp,tasks}.h, kernel/locking/lockdep.c and kernel/sched/core.c. The unit test has an
// example of each.
//
// They tell a kernel's trouble from a program's, of which the kernel speaks as well: "traps: sh[7] general protection
// fault ip:...", or "sh[7]: segfault at 0". A program chooses the 15 letters of its name, so none of these patterns is
// met by so few.
constexpr auto kKinds = std::to_array<Kind>({
    {"panic", "Kernel panic - not syncing"},
    {"oops",
     R"([^\[]*: [0-9a-f]{4,16} \[#[0-9]+\]( |$))"  // whatever dies: "Oops: 0002 [#1]", "Internal error: Oops: 96000004
                                                   // [#1]"
     R"(|BUG: unable to handle |BUG: kernel NULL pointer dereference|BUG: \S+ stack guard page was hit)"
     R"(|BUG: Bad page (state|map|cache) in process|kernel BUG at (\S+:[0-9]+!|\S+ \[verbose)|traps: PANIC: double fault,)"
     R"(|Unable to handle kernel (NULL|paging|access|read|write|execute)|SError Interrupt on CPU[0-9])"
     R"(|Unhandled [^\[]* exception on CPU[0-9])"},
    {"warn", R"(WARNING: (CPU: [0-9]+ PID: [0-9]+ at |(\S+:[0-9]+ )?at \S+( \[[^\]]*\])?, CPU#[0-9]+: ))"},
    {"kasan", R"(BUG: (K[A-Z]SAN|KFENCE): [^\[]+ in )"},
    {"lockup", R"(watchdog: BUG: soft lockup - CPU#|(NMI )?watchdog: (CPU[0-9]+: )?Watchdog detected hard LOCKUP)"
               R"(|BUG: workqueue lockup - pool )"},
    {"hung", R"(INFO: task .*:[0-9]+ blocked( in I/O wait)? for more than [0-9]+ seconds)"},
    {"rcu",
     R"((rcu: )?INFO: \S+ (self-detected stall on CPU|detected (expedited )?stalls( on |\?))|WARNING: suspicious RCU usage)"},
    {"ubsan", R"(UBSAN: \S+ in \S+:[0-9]+:[0-9]+)"},
    {"lockdep", R"(WARNING: (possible (circular|recursive) locking|possible irq lock inversion|inconsistent lock state)"
                R"(|bad (unlock balance|contention) detected|\S+-safe -> \S+-unsafe lock order|held lock freed)"
                R"(|lock held when returning to user space|Nested lock was not taken)|\[ BUG: Invalid wait context)"
                R"(|BUG: sleeping function called from invalid context|BUG: scheduling while atomic: )"},
});

// In front of the kernel's words: a level, the time, the caller ("<4>[    1.250000][    T1] "). Where there is a time,
// it may stand behind what a program printed, such as a prompt.
constexpr std::string_view kBeginning = R"((?:^(<[0-9]+>)?|\[ *[0-9]+\.[0-9]{6}\] ?(\[ *[CT][0-9]+\] ?)?))";

constexpr std::string_view kKtap = "ktap";
constexpr std::string_view kNone = "none";

// The expression of a kind, or that which the word is itself.
std::string pattern_of(std::string_view word) {
  const auto known = std::ranges::find(kKinds, word, &Kind::name);
  return known == kKinds.end() ? std::string(word) : fmt::format("{}(?:{})", kBeginning, known->pattern);
}

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

// Whether this is the comma of an expression's {1,9}. Cut there, each half would be an expression, too, that matches
// nothing.
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
    if (word == kNone) {
      rules_.clear();
      wants_ktap_ = false;
    } else if (word == kKtap) {
      wants_ktap_ = true;
    } else if (!word.empty()) {
      rules_.push_back({std::string(word), compile("--fail-on", pattern_of(word))});
    }
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
