// ResetPort: the reset control register at port 0xcf9, as in Intel's ICH (I/O controller hub data sheet, RST_CNT).
// SYS_RST chooses a whole reset, and RST_CPU going from 0 to 1 performs it. The FADT names it as the reset register.
//
// The port lies in the middle of the PCI configuration ports, whose address register only answers to four bytes at
// once. So this device sits in front of them, takes single bytes at its own port, and passes everything else on.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "devices/device.h"

namespace vmm {

class ResetPort : public Device {
 public:
  static constexpr uint64_t kPorts = 8;  // from 0xcf8 on
  enum : uint8_t { SYS_RST = 0x02, RST_CPU = 0x04, FULL_RST = 0x08 };

  // `pci_ports` is what lies around it. `reset` is called on the vCPU's thread.
  ResetPort(Device& pci_ports, std::function<void()> reset) : pci_ports_(pci_ports), reset_(std::move(reset)) {}

  void read(uint64_t offset, std::span<std::byte> data) override {
    if (!is_own(offset, data.size())) return pci_ports_.read(offset, data);
    data.front() = std::byte{value_.load()};
  }
  void write(uint64_t offset, std::span<const std::byte> data) override {
    if (!is_own(offset, data.size())) return pci_ports_.write(offset, data);
    const auto value = std::to_integer<uint8_t>(data.front());
    value_ = value & (SYS_RST | FULL_RST);  // RST_CPU falls back by itself
    if ((value & SYS_RST) != 0 && (value & RST_CPU) != 0) reset_();
  }

 private:
  static bool is_own(uint64_t offset, size_t length) { return offset == 1 && length == 1; }

  Device& pci_ports_;
  std::function<void()> reset_;
  std::atomic<uint8_t> value_{0};
};

}  // namespace vmm
