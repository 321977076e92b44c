// FwCfg: QEMU's firmware configuration device, so far as test kernels ask it about the machine: a selector (port 0x510,
// 16 bits) and a data port (0x511) that yields the selected item byte by byte, then zeroes. Read-only, no files, no
// DMA. QEMU docs/specs/fw_cfg.rst. Item numbers are those of <linux/qemu_fw_cfg.h>.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "devices/device.h"

namespace vmm {

class FwCfg : public Device {
 public:
  static constexpr uint64_t kPorts = 2;

  FwCfg(uint16_t cpus, uint64_t ram_size);

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  std::map<uint16_t, std::vector<std::byte>> items_;
  std::mutex mutex_;
  uint16_t selected_ = 0;
  size_t position_ = 0;
};

}  // namespace vmm
