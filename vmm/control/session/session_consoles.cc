// The consoles of a session: what the guest says on them, and who comes to them besides those they were opened for. See
// session.h.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>

#include "vmm/control/session/session.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

// ---- what the guest says

void Session::stop_watching() {
  for (CharStream* stream : backends_.streams()) stream->set_observer(nullptr);
  consoles_.clear();
}

void Session::watch_consoles() {
  stop_watching();
  for (CharStream* stream : backends_.streams()) {
    WatchedConsole& console = consoles_.emplace_back(*this);
    if (keeps_crash_kernel()) console.watch.expect_crash_kernel();
    console.watch.set_on_line([this, &console](std::string_view text) {
      judge_.look_at(text);
      console.told_of_init = console.told_of_init || tells_of_init(text);
      if (judge_.wants_ktap()) console.ktap.line(text);
      if (traced_) trace_console(text);
    });
    stream->set_observer([this, &console](std::span<const std::byte> output) {
      const bool before = console.watch.reason().has_value();
      console.watch.feed(output);
      const bool now = console.watch.reason().has_value();
      if (!before) console.panicked_at = Clock::now() - boot_started_;
      if (const auto& reason = console.watch.survived()) crash_kernel_took_over(console, *reason);
      note_output();
      now ? console.silence.start(console.watch.silence_needed()) : console.silence.cancel();
    });
  }
}

bool Session::keeps_crash_kernel() const {
  return kernel_command_line(config_, backends_.kernel.info().kind).find("crashkernel=") != std::string::npos;
}

// The panic stays, whatever comes now. Without memory of its own there is no crash kernel, but for one in an old log.
void Session::crash_kernel_took_over(WatchedConsole& console, const std::string& reason) {
  if (console.survived || !keeps_crash_kernel()) return;
  console.survived = {reason, console.panicked_at.count()};
  log_info("kernel panic: {}; its crash kernel has taken over, and the run goes on to its end", reason);
}

const Session::WatchedConsole* Session::panicked_console() const {
  for (const WatchedConsole& console : consoles_) {
    if (console.watch.reason()) return &console;
  }
  return nullptr;
}

// The lines before the end: of the log in memory, or else of the console that showed most.
std::vector<std::string> Session::last_log() const {
  if (evidence_.findings && !evidence_.findings->log.empty()) {
    const auto& log = evidence_.findings->log;
    return {log.end() - static_cast<std::ptrdiff_t>(std::min(PanicWatch::kTailLines, log.size())), log.end()};
  }
  const WatchedConsole* console = panicked_console();
  if (console == nullptr && !consoles_.empty()) console = &consoles_.front();
  if (console == nullptr) return {};
  return {console->watch.tail().begin(), console->watch.tail().end()};
}

// The KTAP of the console that shows most of it. A kernel that is told to be quiet has it in its log alone.
KtapLog Session::find_ktap(const std::optional<Findings>& findings) const {
  KtapLog found;
  for (const WatchedConsole& console : consoles_) {
    KtapLog shown = console.ktap;
    shown.finish();
    if (!found.any() || shown.cases().size() > found.cases().size()) found = std::move(shown);
  }
  if (found.any() || !findings) return found;
  for (const std::string& line : findings->log) found.line(line);
  found.finish();
  return found;
}

// A kernel that kgdb is to take over is sent what its kgdboc waits for.
void Session::connect_split_gdb() {
  auto line = backends_.serial.begin();
  for (const auto& split : backends_.split_gdb) {
    const CharStream& console = **line++;
    if (!split) continue;
    split->set_on_enter([this, &console] {
      if (!machine_->ended()) machine_->send_break(console, 'g');
    });
  }
}

// ---- visitors

std::string Session::console_name(size_t index) const {
  const size_t lines = backends_.serial.size();
  return index < lines ? fmt::format("ttyS{}", index) : fmt::format("hvc{}", index - lines);
}

const CharConfig& Session::console_config(size_t index) const {
  const size_t lines = backends_.serial.size();
  return index < lines ? config_.serial[index] : config_.consoles[index - lines];
}

size_t Session::console_index(std::string_view name) const {
  std::string names;
  for (size_t index = 0; index < visitors_.size(); ++index) {
    const bool wanted =
        name.empty() ? console_config(index).kind != CharConfig::Kind::kNull : console_name(index) == name;
    if (wanted) return index;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", console_name(index));
  }
  if (visitors_.empty()) throw Error("the machine has no console", "start it with --serial or --console");
  if (!name.empty()) throw Error(fmt::format("the machine has no console '{}'", name), names);
  return 0;
}

Controls::Console Session::find_console(std::string_view name) const {
  const size_t index = console_index(name);
  const size_t visitors = std::next(visitors_.begin(), static_cast<std::ptrdiff_t>(index))->count();
  if (visitors == CharVisitors::kMost) {
    throw Error(fmt::format("{} others are at {} already", visitors, console_name(index)), "let one of them leave it");
  }
  return {.name = console_name(index), .where = console_config(index).describe(), .visitors = visitors};
}

void Session::send_break(std::string_view name) {
  require_alive();
  const size_t index = console_index(name);
  if (!machine_->send_break(*backends_.streams()[index])) {
    throw Error(fmt::format("{} is no serial line: it has no BREAK", console_name(index)), "vmm sysrq KEY NAME");
  }
}

void Session::admit(std::string_view name, UniqueFd client, std::string_view typed) {
  const size_t index = console_index(name);
  std::next(visitors_.begin(), static_cast<std::ptrdiff_t>(index))->admit(std::move(client), typed);
}

}  // namespace vmm
