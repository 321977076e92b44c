// Requests, from chain to status byte; see block.h.
#include "devices/virtio/block.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "devices/backends/iovecs.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/core/when_all.h"

namespace vmm {

namespace {

constexpr uint64_t kSector = 512;  // the unit of the protocol, whatever the disk's block is
constexpr uint16_t kQueueSize = 256;
// Requests that are with the backend at once: of the whole disk, divided among its queues.
constexpr size_t kInFlight = 128;
constexpr size_t kMinInFlight = 8;             // of one queue
constexpr uint32_t kMaxSegments = 64;          // of one discard or write-zeroes
constexpr uint32_t kMaxZeroSectors = 1 << 21;  // 1 GiB: where the host can do no better, it is written out
// The backend gets a longer request in parts of so many bytes, and no further part once the device stops: a stop waits
// for what is under way.
constexpr size_t kTransferPart = size_t{2} << 20;
constexpr uint64_t kZeroPart = uint64_t{16} << 20;
constexpr uint64_t kDiscardPart = uint64_t{1} << 30;

uint32_t block_size_of(const DiskConfig& config, const BlockBackend& backend) {
  return config.block_size != 0 ? config.block_size : backend.topology().logical_block;
}

// `length` bytes of the buffers, from `offset` on.
void collect(std::span<const GuestSlice> slices, size_t offset, size_t length, std::vector<iovec>& to) {
  to.clear();
  for (const GuestSlice& slice : slices) {
    if (length == 0) break;
    const GuestSlice part = slice.sub(offset, length);
    offset -= std::min(offset, slice.size());
    length -= part.size();
    if (!part.empty()) to.push_back(part.iov());
  }
}

// What a request carries each way besides its header and its status byte.
size_t data_out(const DescriptorChain& chain) { return chain.readable_size() - sizeof(virtio_blk_outhdr); }
size_t data_in(const DescriptorChain& chain) { return chain.writable_size() - 1; }

}  // namespace

VirtioBlock::VirtioBlock(BlockBackend& backend, const DiskConfig& config, std::string name, uint16_t queues)
    : backend_(backend), name_(std::move(name)), queues_(queues) {
  CHECK(queues > 0);
  const uint32_t block = block_size_of(config, backend_);
  if (backend_.size() % block != 0) {
    throw Error(fmt::format("{}: its size, {} bytes, is not a multiple of the block size {}", config.path,
                            backend_.size(), block),
                fmt::format("pad it: truncate -s %{} {}", block, config.path));
  }
  const std::string& serial = config.serial.empty() ? name_ : config.serial;
  std::ranges::copy(std::as_bytes(std::span(serial)).first(std::min(serial.size(), serial_.size())), serial_.begin());

  const uint32_t physical = std::max(backend_.topology().physical_block, block);
  config_.capacity = backend_.size() / kSector;
  config_.seg_max = kQueueSize - 2;  // header and status take a descriptor each
  config_.blk_size = block;
  config_.physical_block_exp = static_cast<uint8_t>(std::countr_zero(physical / block));
  config_.min_io_size = static_cast<uint16_t>(physical / block);
  config_.num_queues = queues_;
  config_.max_discard_sectors = UINT32_MAX;
  config_.max_discard_seg = kMaxSegments;
  config_.discard_sector_alignment = physical / kSector;
  config_.max_write_zeroes_sectors = kMaxZeroSectors;
  config_.max_write_zeroes_seg = kMaxSegments;
  config_.write_zeroes_may_unmap = 1;
}

VirtioTraits VirtioBlock::traits() const {
  uint64_t features = feature(VIRTIO_BLK_F_SEG_MAX) | feature(VIRTIO_BLK_F_BLK_SIZE) | feature(VIRTIO_BLK_F_TOPOLOGY) |
                      feature(VIRTIO_BLK_F_MQ) | feature(VIRTIO_BLK_F_FLUSH) | feature(VIRTIO_BLK_F_CONFIG_WCE);
  features |= backend_.read_only() ? feature(VIRTIO_BLK_F_RO)
                                   : feature(VIRTIO_BLK_F_DISCARD) | feature(VIRTIO_BLK_F_WRITE_ZEROES);
  return {.device_id = VIRTIO_ID_BLOCK,
          .features = features,
          .queue_sizes = std::vector<uint16_t>(queues_, kQueueSize),
          .config_size = offsetof(virtio_blk_config, max_secure_erase_sectors),
          .pci_class = 0x018000};  // "other mass storage controller"
}

// ---- configuration

void VirtioBlock::read_config(size_t offset, std::span<std::byte> out) const {
  virtio_blk_config config = config_;
  config.wce = writeback_ ? 1 : 0;
  const auto bytes = std::as_bytes(std::span(&config, 1)).subspan(offset, out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
}

// The driver may write one field, where that was negotiated (§5.2.5).
void VirtioBlock::write_config(size_t offset, std::span<const std::byte> in) {
  constexpr size_t kField = offsetof(virtio_blk_config, wce);
  if (offset > kField || kField - offset >= in.size() || !may_choose_) return;
  writeback_ = in[kField - offset] != std::byte{0};
}

// A driver that never heard of flushing gets write-through, and keeps it: what it writes is stable on completion
// (§5.2.5.2, and §5.2.6.2, the first condition).
void VirtioBlock::negotiated(uint64_t features) {
  const bool knows_flush = (features & feature(VIRTIO_BLK_F_FLUSH)) != 0;
  may_choose_ = knows_flush && (features & feature(VIRTIO_BLK_F_CONFIG_WCE)) != 0;
  writeback_ = knows_flush;
}

void VirtioBlock::activate(uint64_t features) { multiqueue_ = (features & feature(VIRTIO_BLK_F_MQ)) != 0; }

void VirtioBlock::reset() {
  multiqueue_ = stopping_ = false;
  may_choose_ = false;
  writeback_ = true;
}

void VirtioBlock::refresh_size() {
  backend_.refresh_size();
  const uint64_t capacity = backend_.size() / config_.blk_size * config_.blk_size / kSector;
  if (capacity != config_.capacity) change_config([&] { config_.capacity = capacity; });
}

// ---- requests

Task<void> VirtioBlock::serve(size_t index, Virtqueue& queue) {
  return index == 0 || multiqueue_ ? serve_queue(queue) : serve_nothing();
}

Task<void> VirtioBlock::serve_queue(Virtqueue& queue) {
  // Without a status, a driver would find what an earlier request left in its place.
  queue.set_on_too_long([this](DescriptorChain& chain) {
    if (!chain.writable().empty()) finish(chain, Request(), VIRTIO_BLK_S_IOERR);
  });
  std::vector<Task<void>> copies;
  const size_t count = std::max(kInFlight / queues_, kMinInFlight);
  for (size_t i = 0; i < std::min<size_t>(count, queue.size()); ++i) copies.push_back(serve_requests(queue));
  co_await when_all(std::move(copies));
}

Task<void> VirtioBlock::serve_requests(Virtqueue& queue) {
  Request request;
  while (auto chain = co_await queue.next()) {
    if (chain->writable().empty()) {  // there is no place for a status
      ++stats_.errors;
      continue;
    }
    uint8_t status = parse(*chain, request);
    if (status == VIRTIO_BLK_S_OK) {
      ++in_flight_;
      const int error = co_await perform(request);
      --in_flight_;
      if (error != 0) {
        status = VIRTIO_BLK_S_IOERR;
        // A failed read counts only what came before its failure.
        request.bytes_in -= static_cast<uint32_t>(std::min<size_t>(request.bytes_in, total_size(request.data)));
      }
    }
    finish(*chain, request, status);
  }
}

// The header is copied here, once; how it is spread over descriptors does not matter (§2.7.4.1).
uint8_t VirtioBlock::parse(const DescriptorChain& chain, Request& request) const {
  virtio_blk_outhdr header;
  request.bytes_in = 0;
  request.bytes_out = 0;
  if (chain.read_at(0, std::as_writable_bytes(std::span(&header, 1))) < sizeof header) return VIRTIO_BLK_S_IOERR;
  request.type = header.type;
  switch (header.type) {
    case VIRTIO_BLK_T_IN:
      return parse_read(chain, header.sector, request);
    case VIRTIO_BLK_T_OUT:
      return parse_write(chain, header.sector, request);
    case VIRTIO_BLK_T_GET_ID:
      return parse_identify(chain, request);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
      return parse_segments(chain, request);
    case VIRTIO_BLK_T_FLUSH:
      return VIRTIO_BLK_S_OK;
    default:
      return VIRTIO_BLK_S_UNSUPP;
  }
}

uint8_t VirtioBlock::parse_read(const DescriptorChain& chain, uint64_t sector, Request& request) const {
  const size_t length = data_in(chain);
  if (data_out(chain) != 0 || !in_range(sector, length)) return VIRTIO_BLK_S_IOERR;
  request.offset = sector * kSector;
  request.bytes_in = static_cast<uint32_t>(length);
  collect(chain.writable(), 0, length, request.data);
  return VIRTIO_BLK_S_OK;
}

uint8_t VirtioBlock::parse_write(const DescriptorChain& chain, uint64_t sector, Request& request) const {
  const size_t length = data_out(chain);
  if (backend_.read_only()) return VIRTIO_BLK_S_IOERR;  // whether or not the driver took note of F_RO
  if (data_in(chain) != 0 || !in_range(sector, length)) return VIRTIO_BLK_S_IOERR;
  request.offset = sector * kSector;
  request.bytes_out = length;
  collect(chain.readable(), sizeof(virtio_blk_outhdr), length, request.data);
  return VIRTIO_BLK_S_OK;
}

uint8_t VirtioBlock::parse_identify(const DescriptorChain& chain, Request& request) const {
  const size_t length = std::min(data_in(chain), serial_.size());
  if (data_out(chain) != 0 || length == 0) return VIRTIO_BLK_S_IOERR;
  request.bytes_in = static_cast<uint32_t>(length);
  collect(chain.writable(), 0, length, request.data);
  return VIRTIO_BLK_S_OK;
}

// All segments are checked before anything is done to the first.
uint8_t VirtioBlock::parse_segments(const DescriptorChain& chain, Request& request) const {
  const size_t length = data_out(chain);
  const size_t count = length / sizeof(virtio_blk_discard_write_zeroes);
  if (backend_.read_only() || data_in(chain) != 0) return VIRTIO_BLK_S_IOERR;
  if (length % sizeof(virtio_blk_discard_write_zeroes) != 0 || count == 0 || count > kMaxSegments) {
    return VIRTIO_BLK_S_IOERR;
  }
  request.segments.resize(count);
  chain.read_at(sizeof(virtio_blk_outhdr), std::as_writable_bytes(std::span(request.segments)));
  const bool zeroes = request.type == VIRTIO_BLK_T_WRITE_ZEROES;
  const uint32_t known = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
  for (const auto& segment : request.segments) {
    if ((segment.flags & ~known) != 0) return VIRTIO_BLK_S_UNSUPP;  // §5.2.6.2
    if (!in_range(segment.sector, segment.num_sectors * kSector)) return VIRTIO_BLK_S_IOERR;
    if (zeroes && segment.num_sectors > kMaxZeroSectors) return VIRTIO_BLK_S_IOERR;
  }
  return VIRTIO_BLK_S_OK;
}

// Whole sectors inside the disk. The sector is compared, never shifted: it may be any 64 bits.
bool VirtioBlock::in_range(uint64_t sector, uint64_t bytes) const {
  const uint64_t capacity = config_.capacity;
  return bytes % kSector == 0 && sector <= capacity && bytes / kSector <= capacity - sector;
}

Task<int> VirtioBlock::perform(Request& request) {
  switch (request.type) {
    case VIRTIO_BLK_T_IN:
      ++stats_.reads;
      return transfer(Verb::kRead, request.offset, request.data);
    case VIRTIO_BLK_T_OUT:
      ++stats_.writes;
      return transfer(Verb::kWrite, request.offset, request.data);
    case VIRTIO_BLK_T_FLUSH:
      ++stats_.flushes;
      return backend_.flush();
    case VIRTIO_BLK_T_GET_ID:
      return identify(request.data);
    default:
      ++stats_.discards;
      return unmap(request);
  }
}

Task<int> VirtioBlock::transfer(Verb verb, uint64_t offset, std::span<iovec> data) {
  if (total_size(data) > kTransferPart) return transfer_in_parts(verb, offset, data);
  return verb == Verb::kRead ? backend_.read(offset, data) : backend_.write(offset, data, durability());
}

Task<int> VirtioBlock::transfer_in_parts(Verb verb, uint64_t offset, std::span<iovec> data) {
  while (!data.empty()) {
    std::vector<iovec> part = copy_front(data, kTransferPart);
    const size_t length = total_size(part);
    if (const int error = co_await transfer(verb, offset, part)) co_return error;
    offset += length;
    data = drop_front(data, length);
    if (stopping_ && !data.empty()) co_return ECANCELED;
  }
  co_return 0;
}

Task<int> VirtioBlock::unmap(const Request& request) {
  const bool zeroes = request.type == VIRTIO_BLK_T_WRITE_ZEROES;
  const bool stable = zeroes && durability() == Durability::kStable;
  const uint64_t part = zeroes ? kZeroPart : kDiscardPart;
  for (const auto& segment : request.segments) {
    uint64_t offset = segment.sector * kSector;
    uint64_t left = segment.num_sectors * kSector;
    const Unmap unmap = segment.flags != 0 ? Unmap::kAllowed : Unmap::kForbidden;
    do {
      const uint64_t length = std::min(left, part);
      int error = 0;
      if (zeroes) {
        error = co_await backend_.write_zeroes(offset, length, unmap);
      } else {
        error = co_await backend_.discard(offset, length);
      }
      if (error != 0) co_return error;
      offset += length;
      left -= length;
      if (stopping_ && left > 0) co_return ECANCELED;
    } while (left > 0);
  }
  if (!stable) co_return 0;
  co_return co_await backend_.flush();
}

Task<int> VirtioBlock::identify(std::span<const iovec> to) const {
  scatter(serial_, to);
  co_return 0;
}

// The used length counts bytes that were really written, the status among them.
void VirtioBlock::finish(DescriptorChain& chain, const Request& request, uint8_t status) {
  const GuestSlice& last = chain.writable().back();
  const std::byte value{status};
  last.sub(last.size() - 1, 1).copy_in({&value, 1});
  chain.set_written(request.bytes_in + 1);
  if (status != VIRTIO_BLK_S_OK) {
    ++stats_.errors;
  } else if (request.type == VIRTIO_BLK_T_IN) {
    stats_.bytes_read += request.bytes_in;
  } else {
    stats_.bytes_written += request.bytes_out;
  }
}

}  // namespace vmm
