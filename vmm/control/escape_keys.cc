// The table of keys; see escape_keys.h.
#include "vmm/control/escape_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "vmm/core/error.h"

namespace vmm {

namespace {

struct Key {
  char letter;
  EscapeKeys::Command command;
  std::string_view help;
};

using Command = EscapeKeys::Command;

constexpr std::array kKeys{
    Key{'h', Command::kHelp, "this help"},
    Key{'x', Command::kQuit, "quit: flush the disks and end the machine"},
    Key{'b', Command::kBreak, "BREAK on the serial line; the next key is then the guest's sysrq letter"},
    Key{'t', Command::kTimestamps, "time stamps in front of lines, on and off"},
    Key{'w', Command::kWhy, "why: what every vCPU is doing, told from its memory"},
    Key{'m', Command::kLog, "the kernel's log, out of its memory"},
    Key{'g', Command::kGdb, "stop the machine for gdb, and print how it is started"},
    Key{'d', Command::kDump, "write its memory and registers to a vmcore now, for crash or drgn"},
    Key{'p', Command::kPause, "pause, and go on"},
    Key{'r', Command::kReset, "reset the machine"},
    Key{'n', Command::kNmi, "send an NMI to every vCPU"},
};

constexpr char control(char letter) { return static_cast<char>(letter & 0x1f); }

}  // namespace

EscapeKeys EscapeKeys::parse(std::string_view text) {
  if (text == "none") return EscapeKeys(std::nullopt);
  const bool caret = text.size() == 2 && text[0] == '^';
  const char letter = caret ? static_cast<char>(text[1] >= 'a' && text[1] <= 'z' ? text[1] - 0x20 : text[1]) : '\0';
  if (letter < 'A' || letter > '_') {
    throw Error(fmt::format("'{}' is no escape key", text), "--escape ^A, --escape ^] or --escape none");
  }
  return EscapeKeys(static_cast<std::byte>(control(letter)));
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
  const auto known =
      std::find_if(kKeys.begin(), kKeys.end(), [letter](const Key& key) { return key.letter == letter; });
  known == kKeys.end() ? actions.unknown(letter) : actions.command(known->command);
}

std::string EscapeKeys::name() const {
  return escape_ ? fmt::format("Ctrl-{}", static_cast<char>(std::to_integer<char>(*escape_) + '@')) : std::string();
}

std::string EscapeKeys::help() const {
  std::string text;
  for (const Key& key : kKeys) text += fmt::format("  {} {}   {}\n", name(), key.letter, key.help);
  return text + fmt::format("  {} a   the key itself, for the guest ({} twice does the same)", name(), name());
}

}  // namespace vmm
