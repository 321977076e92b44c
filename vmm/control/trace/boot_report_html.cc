// Drawing; see boot_report_html.h.
#include "vmm/control/trace/boot_report_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <vector>

namespace vmm {

namespace {

// Told apart by people who see colours differently: Okabe and Ito's.
constexpr std::array<std::string_view, 7> kColours{"#0072b2", "#e69f00", "#009e73", "#cc79a7",
                                                   "#56b4e9", "#d55e00", "#999999"};
// Colours of phases: others than devices have, and dark enough for white letters.
constexpr std::array<std::string_view, 7> kPhaseColours{"#44546a", "#7a4f9a", "#2f6f8f", "#3f7f5f",
                                                        "#a0522d", "#8c6d1f", "#6b6b6b"};
constexpr size_t kDevicesDrawn = kColours.size() - 1;  // the last colour is that of all others
constexpr size_t kBins = 250;
constexpr size_t kRowsShown = 12;
constexpr double kWidth = 1000, kPhaseHeight = 46, kExitsTop = 84, kExitsHeight = 150, kHeight = 262;

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ink: #1c2024; --soft: #667; --paper: #fdfdfc; --card: #fff; --line: #dde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #9aa; --paper: #14171a; --card: #1c2024; --line: #334; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1080px; padding: 24px; }
h1 { font-size: 22px; margin: 0 0 2px; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 0 0 8px; }
p { margin: 0 0 14px; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px; margin: 0 0 16px; }
.facts { display: flex; flex-wrap: wrap; gap: 12px 40px; margin: 0 0 16px; }
.facts b { display: block; font-size: 24px; } .facts span { color: var(--soft); }
svg { width: 100%; height: auto; display: block; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); } svg line { stroke: var(--line); } svg .in { fill: #fff; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 3px 10px 3px 0; text-align: right; white-space: nowrap; } th { color: var(--soft); font-weight: 400; }
td:first-child, th:first-child { text-align: left; width: 34%; white-space: normal; overflow-wrap: anywhere; }
td.until { text-align: left; white-space: normal; color: var(--soft); } td.bar { width: 34%; }
td.bar div { height: 12px; border-radius: 3px; min-width: 1px; }
i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 6px 0 0; }
.legend span { margin-right: 16px; color: var(--soft); }
)";

double part(double of, double whole) { return whole > 0 ? std::clamp(of / whole, 0.0, 1.0) : 0; }

std::string time_text(double seconds) {
  if (seconds == 0) return "0";
  if (seconds >= 1) return fmt::format("{:.2f} s", seconds);
  return seconds >= 0.001 ? fmt::format("{:.1f} ms", seconds * 1e3) : fmt::format("{:.0f} us", seconds * 1e6);
}

double seconds_of(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

class Page {
 public:
  explicit Page(const RunTrace& trace) : trace_(trace), devices_(sum_by(trace, &RunTrace::Row::device)) {}

  std::string make() {
    add("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width\">\n<title>{0}: where the time went</title>\n<style>{1}</style></head>\n<body "
        "data-seconds=\"{2}\" data-exits=\"{3}\" data-ns=\"{4}\">\n",
        html_text(trace_.kernel), kStyle, trace_.seconds, trace_.exits(), trace_.nanoseconds());
    heading();
    timeline();
    phase_table();
    table("by reason", "What the guest was left for", sum_by(trace_, &RunTrace::Row::reason), false);
    table("by device", "Who answered", devices_, true);
    table("by function", "Out of which function of the guest", sum_by(trace_, &RunTrace::Row::symbol), false);
    kvm_table();
    add("<p>Times are those of exits to vmm{}, without what leaving and entering the guest "
        "takes.</p>\n</body></html>\n",
        trace_.kvm.empty() ? ", and this host does not count those that KVM answers by itself" : "");
    return std::move(out_);
  }

 private:
  template <typename... Parts>
  void add(fmt::format_string<Parts...> format, Parts&&... parts) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Parts>(parts)...);
  }

  void heading() {
    add("<h1>{}</h1>\n<p>{}{} vCPU{}</p>\n<div class=\"facts\">", html_text(trace_.kernel),
        trace_.release.empty() ? std::string() : fmt::format("Linux {}, ", html_text(trace_.release)),
        trace_.cpus.size(), trace_.cpus.size() == 1 ? "" : "s");
    const double answering = seconds_of(trace_.nanoseconds());
    add("<div><b>{}</b><span>from start to end</span></div><div><b>{}</b><span>exits to vmm</span></div>"
        "<div><b>{}</b><span>to answer them ({:.1f} % of the time)</span></div></div>\n",
        time_text(trace_.seconds), trace_.exits(), time_text(answering), part(answering, trace_.seconds) * 100);
  }

  double x(double seconds) const { return part(seconds, trace_.seconds) * kWidth; }

  void timeline() {
    add("<section><h2>The run</h2>\n<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"phases and exits over "
        "time\">\n",
        kWidth, kHeight);
    for (size_t i = 0; i < trace_.phases.size(); ++i) {
      const RunTrace::Phase& phase = trace_.phases[i];
      const double left = x(phase.start), width = x(phase.start + phase.seconds) - left;
      const std::string name = html_text(phase.name);
      add("<rect class=\"phase\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\" data-name=\"{}\" "
          "data-seconds=\"{}\"><title>{}: {}</title></rect>\n",
          left, std::max(width, 0.5), kPhaseHeight, kPhaseColours[i % kPhaseColours.size()], name, phase.seconds, name,
          time_text(phase.seconds));
      constexpr double kLetter = 7.5;
      if (width < kLetter * static_cast<double>(phase.name.size()) + 12) continue;
      add("<text class=\"in\" x=\"{:.1f}\" y=\"20\">{}</text><text class=\"in\" x=\"{:.1f}\" y=\"36\">{}</text>\n",
          left + 6, name, left + 6, time_text(phase.seconds));
    }
    exits_over_time();
    constexpr int kTicks = 5;
    for (int i = 0; i <= kTicks; ++i) {
      const double at = kWidth * i / kTicks;
      add("<line x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/><text class=\"soft\" x=\"{0}\" y=\"{3}\" "
          "text-anchor=\"{4}\">{5}</text>\n",
          at, kPhaseHeight, kExitsTop + kExitsHeight + 4, kExitsTop + kExitsHeight + 20,
          i == 0        ? "start"
          : i == kTicks ? "end"
                        : "middle",
          time_text(trace_.seconds * i / kTicks));
    }
    add("</svg>\n<div class=\"legend\">");
    for (size_t i = 0; i < std::min(devices_.size(), kColours.size()); ++i) {
      add("<span><i style=\"background:{}\"></i>{}</span>", kColours[i],
          i < kDevicesDrawn ? html_text(devices_[i].name) : std::string("others"));
    }
    add("</div></section>\n");
  }

  // A column for each stretch of time, as high as it had exits, in the colours of the devices that they went to.
  void exits_over_time() {
    std::map<std::string_view, size_t> colour;
    for (size_t i = 0; i < devices_.size(); ++i) colour[devices_[i].name] = std::min(i, kDevicesDrawn);
    std::vector<std::array<uint64_t, kColours.size()>> bins(kBins);
    for (const RunTrace::Event& event : trace_.events) {
      const double at = seconds_of(event.start);
      if (!(at < trace_.seconds)) continue;
      const auto bin = static_cast<size_t>(part(at, trace_.seconds) * kBins);
      ++bins[std::min(bin, kBins - 1)][colour[trace_.rows[event.row].device]];
    }
    uint64_t most = 1;
    for (const auto& bin : bins) {
      uint64_t sum = 0;
      for (const uint64_t count : bin) sum += count;
      most = std::max(most, sum);
    }
    add("<text class=\"soft\" x=\"0\" y=\"{}\">exits: up to {} in {}{}</text>\n", kExitsTop - 16, most,
        time_text(trace_.seconds / kBins),
        trace_.events_lost > 0 ? fmt::format("; the first {} were not kept one by one", trace_.events_lost) : "");
    const double width = kWidth / kBins;
    for (size_t i = 0; i < kBins; ++i) {
      double bottom = kExitsTop + kExitsHeight;
      for (size_t c = 0; c < kColours.size(); ++c) {
        if (bins[i][c] == 0) continue;
        const double height = static_cast<double>(bins[i][c]) / static_cast<double>(most) * kExitsHeight;
        bottom -= height;
        add("<rect x=\"{:.1f}\" y=\"{:.2f}\" width=\"{:.1f}\" height=\"{:.2f}\" fill=\"{}\"/>\n",
            static_cast<double>(i) * width, bottom, width, height, kColours[c]);
      }
    }
  }

  void phase_table() {
    add("<section><h2>Phases</h2>\n<table><tr><th>phase</th><th>time</th><th>share</th><th></th></tr>\n");
    for (size_t i = 0; i < trace_.phases.size(); ++i) {
      const RunTrace::Phase& phase = trace_.phases[i];
      add("<tr><td><i style=\"background:{}\"></i>{}</td><td>{}</td><td>{:.1f} %</td><td class=\"until\">until {}</td>"
          "</tr>\n",
          kPhaseColours[i % kPhaseColours.size()], html_text(phase.name), time_text(phase.seconds),
          part(phase.seconds, trace_.seconds) * 100, html_text(phase.until));
    }
    add("</table>\n");
    for (const std::string& note : trace_.notes) add("<p>{}</p>\n", html_text(note));
    add("</section>\n");
  }

  void table(std::string_view section, std::string_view title, const std::vector<TraceSum>& sums, bool coloured) {
    add("<section><h2>{}</h2>\n<table><tr><th>{}</th><th>exits</th><th>time</th><th>each</th><th></th></tr>\n", title,
        section);
    TraceSum rest{.name = fmt::format("{} more", sums.size() - std::min(sums.size(), kRowsShown))};
    for (size_t i = 0; i < sums.size(); ++i) {
      if (i < kRowsShown) {
        row(section, sums[i], coloured ? kColours[std::min(i, kDevicesDrawn)] : kColours.front());
      } else {
        rest.count += sums[i].count;
        rest.nanoseconds += sums[i].nanoseconds;
      }
    }
    if (sums.size() > kRowsShown) row(section, rest, kColours.back());
    add("</table></section>\n");
  }

  void kvm_table() {
    if (trace_.kvm.empty()) return;
    add("<section><h2>What KVM counted</h2>\n<table><tr><th>of all vCPUs, also what KVM answered by itself</th>"
        "<th>times</th></tr>\n");
    for (const RunTrace::Count& count : trace_.kvm) {
      if (count.value == 0) continue;
      add("<tr class=\"kvm\" data-name=\"{0}\" data-count=\"{1}\"><td>{0}</td><td>{1}</td></tr>\n",
          html_text(count.name), count.value);
    }
    add("</table></section>\n");
  }

  void row(std::string_view section, const TraceSum& sum, std::string_view colour) {
    const double share = part(seconds_of(sum.nanoseconds), seconds_of(trace_.nanoseconds()));
    add("<tr class=\"sum\" data-section=\"{}\" data-name=\"{}\" data-count=\"{}\" data-ns=\"{}\"><td>{}</td><td>{}</td>"
        "<td>{}</td><td>{}</td><td class=\"bar\"><div style=\"width:{:.2f}%;background:{}\"></div></td></tr>\n",
        section, html_text(sum.name), sum.count, sum.nanoseconds, html_text(sum.name), sum.count,
        time_text(seconds_of(sum.nanoseconds)),
        time_text(sum.count == 0 ? 0 : seconds_of(sum.nanoseconds) / static_cast<double>(sum.count)), share * 100,
        colour);
  }

  const RunTrace& trace_;
  const std::vector<TraceSum> devices_;
  std::string out_;
};

}  // namespace

std::string html_text(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string report_html(const RunTrace& trace) { return Page(trace).make(); }

}  // namespace vmm
