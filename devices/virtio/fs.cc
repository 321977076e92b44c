// One FUSE request after the other, from a chain to the server and back into the same chain; see fs.h.
#include "devices/virtio/fs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "devices/virtio/spec.h"
#include "vmm/core/when_all.h"

namespace vmm {

namespace {

constexpr uint16_t kQueueSize = 1024;  // a request of 1 MiB has 256 pages and a few descriptors more
constexpr size_t kInFlight = 16;       // requests of a queue that the backend has at once

std::vector<iovec> list_of(std::span<const GuestSlice> slices) {
  std::vector<iovec> list;
  for (const GuestSlice& slice : slices) list.push_back(slice.iov());
  return list;
}

}  // namespace

VirtioTraits VirtioFs::traits() const {
  return {.device_id = VIRTIO_ID_FS,
          .queue_sizes = {kQueueSize, kQueueSize},  // hiprio, requests
          .config_size = sizeof(virtio_fs_config),
          .pci_class = 0x018000};  // "other mass storage controller"
}

void VirtioFs::read_config(size_t offset, std::span<std::byte> out) const {
  virtio_fs_config config{.num_request_queues = 1};
  const std::string& tag = backend_.tag();
  std::copy_n(tag.begin(), std::min(tag.size(), sizeof config.tag), config.tag);
  const auto bytes = std::as_bytes(std::span(&config, 1)).subspan(offset, out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
}

Task<void> VirtioFs::serve(size_t, Virtqueue& queue) {
  std::vector<Task<void>> copies;
  for (size_t i = 0; i < std::min<size_t>(kInFlight, queue.size()); ++i) copies.push_back(serve_requests(queue));
  co_await when_all(std::move(copies));
}

Task<void> VirtioFs::serve_requests(Virtqueue& queue) {
  while (auto chain = co_await queue.next()) {
    const std::vector<iovec> request = list_of(chain->readable());
    const std::vector<iovec> reply = list_of(chain->writable());
    chain->set_written(co_await backend_.answer(request, reply));
  }
}

}  // namespace vmm
