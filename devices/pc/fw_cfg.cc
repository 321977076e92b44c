// Selecting and reading items; see fw_cfg.h.
#include "devices/pc/fw_cfg.h"

#include <linux/types.h>
// after the types it needs
#include <linux/qemu_fw_cfg.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace vmm {

namespace {

constexpr uint64_t kSelectorOffset = 0;
constexpr uint64_t kDataOffset = 1;
constexpr uint32_t kTraditionalInterface = 1;  // the bit of FW_CFG_ID; DMA would be 2

template <typename T>
std::vector<std::byte> item(const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

FwCfg::FwCfg(uint16_t cpus, uint64_t ram_size)
    : items_{{FW_CFG_SIGNATURE, item(std::array{'Q', 'E', 'M', 'U'})},
             {FW_CFG_ID, item(kTraditionalInterface)},
             {FW_CFG_RAM_SIZE, item(ram_size)},
             {FW_CFG_NB_CPUS, item(cpus)},
             {FW_CFG_MAX_CPUS, item(cpus)}} {}

void FwCfg::read(uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  std::fill(data.begin(), data.end(), std::byte{0});
  const auto found = items_.find(selected_);
  if (offset != kDataOffset || found == items_.end()) return;
  for (std::byte& byte : data) {
    if (position_ < found->second.size()) byte = found->second[position_++];
  }
}

void FwCfg::write(uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  if (offset != kSelectorOffset || data.size() < sizeof selected_) return;
  std::memcpy(&selected_, data.data(), sizeof selected_);
  position_ = 0;
}

}  // namespace vmm
