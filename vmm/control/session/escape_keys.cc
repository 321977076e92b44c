// The table of keys; see escape_keys.h.
#include "vmm/control/session/escape_keys.h"

#include <fmt/core.h>

#include <algorithm>

#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr char control(char letter) { return static_cast<char>(letter & 0x1f); }

}  // namespace

const std::vector<EscapeKeys::Key> EscapeKeys::kRunKeys{
    {'h', Command::kHelp, "this help"},
    {'x', Command::kQuit, "quit: flush the disks and end the machine"},
    {'b', Command::kBreak, "BREAK on the serial line; the next key is then the guest's sysrq letter"},
    {'t', Command::kTimestamps, "time stamps in front of lines, on and off"},
    {'w', Command::kWhy, "why: what every vCPU is doing, told from its memory"},
    {'m', Command::kLog, "the kernel's log, out of its memory"},
    {'g', Command::kGdb, "stop the machine for gdb, and print how it is started"},
    {'d', Command::kDump, "write its memory and registers to a vmcore now, for crash or drgn"},
    {'p', Command::kPause, "pause, and go on"},
    {'r', Command::kReset, "reset the machine"},
    {'n', Command::kNmi, "send an NMI to every vCPU"},
};

const std::vector<EscapeKeys::Key> EscapeKeys::kVisitKeys{
    {'h', Command::kHelp, "this help"},
    {'x', Command::kLeave, "leave the console; the machine runs on"},
    {'q', Command::kLeave, "the same"},
    {'b', Command::kBreak, "BREAK on the serial line; the next key is then the guest's sysrq letter"},
    {'w', Command::kWhy, "why: what every vCPU is doing, told from its memory"},
    {'m', Command::kLog, "the kernel's log, out of its memory"},
    {'p', Command::kPause, "pause, and go on"},
    {'r', Command::kReset, "reset the machine"},
    {'n', Command::kNmi, "send an NMI to every vCPU"},
};

EscapeKeys EscapeKeys::parse(std::string_view text, Place place) {
  const std::vector<Key>& keys = place == Place::kRun ? kRunKeys : kVisitKeys;
  if (text == "none") return {std::nullopt, keys};
  const bool caret = text.size() == 2 && text[0] == '^';
  const char letter = caret ? static_cast<char>(text[1] >= 'a' && text[1] <= 'z' ? text[1] - 0x20 : text[1]) : '\0';
  if (letter < 'A' || letter > '_') {
    throw Error(fmt::format("'{}' is no escape key", text), "--escape ^A, --escape ^] or --escape none");
  }
  return {static_cast<std::byte>(control(letter)), keys};
}

void EscapeKeys::feed(std::span<const std::byte> typed, const Actions& actions) {
  while (!typed.empty()) {
    if (escaped_) {
      escaped_ = false;
      key(typed.front(), actions);
      typed = typed.subspan(1);
      continue;
    }
    const auto found = escape_ ? std::find(typed.begin(), typed.end(), *escape_) : typed.end();
    const auto plain = typed.first(static_cast<size_t>(found - typed.begin()));
    if (!plain.empty()) actions.to_guest(plain);
    escaped_ = found != typed.end();
    typed = typed.subspan(plain.size() + (escaped_ ? 1 : 0));
  }
}

void EscapeKeys::key(std::byte typed, const Actions& actions) {
  const char letter = static_cast<char>(typed);
  if (typed == *escape_ || letter == 'a') {
    actions.to_guest(std::span(&*escape_, 1));
    return;
  }
  const auto known = std::ranges::find(*keys_, letter, &Key::letter);
  known == keys_->end() ? actions.unknown(letter) : actions.command(known->command);
}

std::string EscapeKeys::name() const {
  return escape_ ? fmt::format("Ctrl-{}", static_cast<char>(std::to_integer<char>(*escape_) + '@')) : std::string();
}

std::string EscapeKeys::help() const {
  std::string text;
  for (const Key& key : *keys_) text += fmt::format("  {} {}   {}\n", name(), key.letter, key.help);
  return text + fmt::format("  {} a   the key itself, for the guest ({} twice does the same)", name(), name());
}

}  // namespace vmm
