// Tables with bars; see boot_report.h.
#include "vmm/control/trace/boot_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "vmm/blackbox/printable.h"
#include "vmm/control/trace/boot_report_html.h"
#include "vmm/core/error.h"
#include "vmm/core/new_file.h"

namespace vmm {

namespace {

constexpr size_t kNameWidth = 40;
constexpr size_t kBarWidth = 30;
constexpr size_t kRowsShown = 12;

struct Section {
  const char* title;
  std::string RunTrace::Row::*text;
};
constexpr Section kSections[] = {{"Exits by reason", &RunTrace::Row::reason},
                                 {"Exits by device", &RunTrace::Row::device},
                                 {"Exits by the guest's function", &RunTrace::Row::symbol}};

double part(double of, double whole) { return whole > 0 ? std::clamp(of / whole, 0.0, 1.0) : 0; }

std::string bar(double share) {
  const auto filled = static_cast<size_t>(std::lround(share * static_cast<double>(kBarWidth)));
  return std::string(share > 0 ? std::max<size_t>(filled, 1) : 0, '#');
}

std::string name_cell(const std::string& name) {
  return name.size() <= kNameWidth ? name : name.substr(0, kNameWidth - 3) + "...";
}

double milliseconds(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e6; }

std::string heading(const RunTrace& trace) {
  std::string text = trace.kernel;
  if (!trace.release.empty()) text += fmt::format(" (Linux {})", trace.release);
  return text + fmt::format(": {:.3f} s, {} vCPU{}, {} exits to vmm, which took {:.3f} ms to answer", trace.seconds,
                            trace.cpus.size(), trace.cpus.size() == 1 ? "" : "s", trace.exits(),
                            milliseconds(trace.nanoseconds()));
}

void add_section(std::string& text, const RunTrace& trace, const Section& section) {
  const std::vector<TraceSum> sums = sum_by(trace, section.text);
  text += fmt::format("\n{:<{}} {:>10} {:>11} {:>9}\n", section.title, kNameWidth, "exits", "ms", "ns each");
  const auto all = static_cast<double>(trace.nanoseconds());
  for (size_t i = 0; i < std::min(sums.size(), kRowsShown); ++i) {
    const TraceSum& sum = sums[i];
    text += fmt::format("  {:<{}} {:>10} {:>11.3f} {:>9}  {}\n", name_cell(sum.name), kNameWidth - 2, sum.count,
                        milliseconds(sum.nanoseconds), sum.count == 0 ? 0 : sum.nanoseconds / sum.count,
                        bar(part(static_cast<double>(sum.nanoseconds), all)));
  }
  if (sums.size() <= kRowsShown) return;
  TraceSum rest;
  for (size_t i = kRowsShown; i < sums.size(); ++i) {
    rest.count += sums[i].count;
    rest.nanoseconds += sums[i].nanoseconds;
  }
  text += fmt::format("  {:<{}} {:>10} {:>11.3f}\n", fmt::format("{} more", sums.size() - kRowsShown), kNameWidth - 2,
                      rest.count, milliseconds(rest.nanoseconds));
}

// KVM's counts; those that stayed at zero are left out.
void add_kvm_counts(std::string& text, const RunTrace& trace) {
  if (trace.kvm.empty()) return;
  text += fmt::format("\n{:<{}} {:>10}\n", "What KVM counted, also what it answered", kNameWidth, "times");
  for (const RunTrace::Count& count : trace.kvm) {
    if (count.value > 0) text += fmt::format("  {:<{}} {:>10}\n", name_cell(count.name), kNameWidth - 2, count.value);
  }
}

// Two values of a name; either may be missing.
struct Pair {
  std::string name;
  std::optional<double> a, b;
};

// Pairs in the order in which their names came.
class Pairs {
 public:
  Pair& of(const std::string& name) {
    const auto [at, is_new] = places_.try_emplace(name, pairs.size());
    return is_new ? pairs.emplace_back(Pair{.name = name}) : pairs[at->second];
  }

  std::vector<Pair> pairs;

 private:
  std::map<std::string, size_t> places_;
};

void add_pairs(std::string& text, const std::vector<Pair>& pairs, int digits) {
  const auto cell = [digits](const std::optional<double>& value) {
    return value ? fmt::format("{:.{}f}", *value, digits) : std::string("-");
  };
  for (const Pair& pair : pairs) {
    const std::string ratio = pair.a && pair.b && *pair.a > 0 ? fmt::format("{:.2f}x", *pair.b / *pair.a) : "-";
    text += fmt::format("  {:<{}} {:>14} {:>14} {:>9}\n", name_cell(pair.name), kNameWidth - 2, cell(pair.a),
                        cell(pair.b), ratio);
  }
}

struct Words {
  std::vector<std::string> files;
  std::string html, perfetto;
  bool compare = false;
};

Words take_apart(const std::vector<std::string>& words) {
  const Error usage("boot-report takes a file that --trace wrote, or two after --compare",
                    "vmm boot-report F.json [--html F] [--perfetto F] | vmm boot-report --compare A.json B.json");
  Words taken;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string* const file = words[i] == "--html" ? &taken.html : words[i] == "--perfetto" ? &taken.perfetto : nullptr;
    if (file != nullptr) {
      if (++i == words.size()) throw usage;
      *file = words[i];
    } else if (words[i] == "--compare") {
      taken.compare = true;
    } else if (words[i].starts_with('-')) {
      throw Error(fmt::format("boot-report: unknown option '{}'", printable(words[i])), usage.fix());
    } else {
      taken.files.push_back(words[i]);
    }
  }
  if (taken.files.size() != (taken.compare ? 2 : 1)) throw usage;
  if (taken.compare && !(taken.html + taken.perfetto).empty()) {
    throw Error("--compare prints; --html and --perfetto show one trace", usage.fix());
  }
  return taken;
}

}  // namespace

std::string report_text(const RunTrace& trace) {
  std::string text = heading(trace) + "\n";
  text += fmt::format("\n{:<{}} {:>10} {:>11}\n", "Phases", kNameWidth, "s", "%");
  for (const RunTrace::Phase& phase : trace.phases) {
    const double share = part(phase.seconds, trace.seconds);
    text += fmt::format("  {:<{}} {:>10.4f} {:>11.1f}            {}\n", name_cell(phase.name), kNameWidth - 2,
                        phase.seconds, share * 100, bar(share));
    text += fmt::format("    until {}\n", phase.until);
  }
  for (const std::string& note : trace.notes) text += fmt::format("  {}\n", note);
  for (const Section& section : kSections) add_section(text, trace, section);
  add_kvm_counts(text, trace);
  text += fmt::format("\nTimes are those of exits to vmm{}, without what leaving and entering the guest takes.\n",
                      trace.kvm.empty() ? ", and this host does not count those that KVM answers by itself" : "");
  return text;
}

std::string compare_text(const RunTrace& a, const std::string& a_name, const RunTrace& b, const std::string& b_name) {
  std::string text = fmt::format("A {}: {}\nB {}: {}\n", printable(a_name), heading(a), printable(b_name), heading(b));
  const auto title = [&text](std::string_view name, std::string_view unit) {
    text += fmt::format("\n{:<{}} {:>14} {:>14} {:>9}\n", name, kNameWidth, fmt::format("A {}", unit),
                        fmt::format("B {}", unit), "B / A");
  };
  Pairs phases;
  for (const RunTrace::Phase& phase : a.phases) phases.of(phase.name).a = phase.seconds;
  for (const RunTrace::Phase& phase : b.phases) phases.of(phase.name).b = phase.seconds;
  phases.pairs.push_back({.name = "all", .a = a.seconds, .b = b.seconds});
  title("Phases", "s");
  add_pairs(text, phases.pairs, 4);
  if (!a.kvm.empty() && !b.kvm.empty()) {
    Pairs counts;
    for (const RunTrace::Count& count : a.kvm) counts.of(count.name).a = static_cast<double>(count.value);
    for (const RunTrace::Count& count : b.kvm) counts.of(count.name).b = static_cast<double>(count.value);
    std::erase_if(counts.pairs, [](const Pair& pair) { return pair.a.value_or(0) + pair.b.value_or(0) == 0; });
    title("What KVM counted", "times");
    add_pairs(text, counts.pairs, 0);
  }
  for (const Section& section : kSections) {
    const auto add = [&](std::string_view unit, int digits, double (*value)(const TraceSum&)) {
      std::map<std::string, Pair> by_name;
      for (const TraceSum& sum : sum_by(a, section.text)) by_name[sum.name].a = value(sum);
      for (const TraceSum& sum : sum_by(b, section.text)) by_name[sum.name].b = value(sum);
      std::vector<Pair> pairs;
      pairs.reserve(by_name.size());
      for (auto& [name, pair] : by_name) pairs.push_back({.name = name, .a = pair.a, .b = pair.b});
      const auto larger = [](const Pair& pair) { return std::max(pair.a.value_or(0), pair.b.value_or(0)); };
      std::ranges::stable_sort(pairs, std::greater(), larger);
      pairs.resize(std::min(pairs.size(), kRowsShown));
      title(section.title, unit);
      add_pairs(text, pairs, digits);
    };
    add("exits", 0, [](const TraceSum& sum) { return static_cast<double>(sum.count); });
    add("ms", 3, [](const TraceSum& sum) { return milliseconds(sum.nanoseconds); });
  }
  return text;
}

std::string boot_report(const std::vector<std::string>& words) {
  const Words taken = take_apart(words);
  if (taken.compare) {
    return compare_text(read_trace(taken.files[0]), taken.files[0], read_trace(taken.files[1]), taken.files[1]);
  }
  const RunTrace trace = read_trace(taken.files.front());
  if (!taken.html.empty()) write_whole_file(taken.html, report_html(trace));
  if (!taken.perfetto.empty()) write_whole_file(taken.perfetto, to_perfetto(trace));
  return report_text(trace);
}

}  // namespace vmm
