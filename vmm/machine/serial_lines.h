// SerialLines: the serial lines of a board, each a chip between a console of the host and a wire of the guest.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "devices/backends/char/char_backend.h"
#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/machine/architecture.h"

namespace vmm {

template <typename Chip>
class SerialLines {
 public:
  // `console` outlives it. The chip stays where it is.
  Chip& add(std::unique_ptr<IrqLine> wire, CharBackend& console) {
    return lines_.emplace_back(std::make_unique<Line>(std::move(wire), console))->chip;
  }
  size_t size() const { return lines_.size(); }

  // As Board::send_break().
  bool send_break(const CharBackend* console, std::optional<uint8_t> key) {
    const auto line = std::ranges::find_if(
        lines_, [&](const auto& candidate) { return console == nullptr || &candidate->console == console; });
    if (line != lines_.end()) (*line)->chip.send_break(key);
    return line != lines_.end();
  }

  // "serial ttyS0"; empty when it is none of them.
  std::string name_of(const Device* device) const {
    for (size_t i = 0; i < lines_.size(); ++i) {
      if (device == &lines_[i]->chip) return fmt::format("serial {}{}", kArchitecture.serial_console, i);
    }
    return {};
  }

 private:
  struct Line {
    Line(std::unique_ptr<IrqLine> wire, CharBackend& backend)
        : console(backend), irq(std::move(wire)), chip(*irq, backend) {}
    const CharBackend& console;
    std::unique_ptr<IrqLine> irq;
    Chip chip;
  };

  std::vector<std::unique_ptr<Line>> lines_;
};

}  // namespace vmm
