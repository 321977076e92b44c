// EscapeKeys: the keys that talk to the monitor instead of the guest: Ctrl-A and a letter, as in QEMU.
//
// A pure state machine over the bytes that a terminal sends. What is meant for the guest passes through in order; a
// command takes effect between the bytes before and after it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

class EscapeKeys {
 public:
  enum class Command { kHelp, kQuit, kBreak, kTimestamps, kPause, kReset, kNmi, kWhy, kLog, kGdb, kDump, kLeave };
  // Whose keys: of a run at its terminal, or of `vmm console`, where leaving does not end the machine.
  enum class Place { kRun, kVisit };

  struct Actions {
    std::function<void(std::span<const std::byte>)> to_guest;
    std::function<void(Command)> command;
    std::function<void(char)> unknown;  // a letter that means nothing (yet)
  };

  // "^A", "^]", or "none": no keys at all. Throws Error for anything else.
  static EscapeKeys parse(std::string_view text, Place place = Place::kRun);

  void feed(std::span<const std::byte> typed, const Actions& actions);

  // "Ctrl-A"; empty when there is none.
  std::string name() const;
  // The help text: a line for each key.
  std::string help() const;

 private:
  struct Key {
    char letter;
    Command command;
    std::string_view help;
  };
  static const std::vector<Key> kRunKeys, kVisitKeys;

  EscapeKeys(std::optional<std::byte> escape, const std::vector<Key>& keys) : escape_(escape), keys_(&keys) {}
  void key(std::byte typed, const Actions& actions);

  std::optional<std::byte> escape_;
  const std::vector<Key>* keys_;
  bool escaped_ = false;  // the last byte was the escape key
};

}  // namespace vmm
