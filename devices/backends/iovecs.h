// Small arithmetic on scatter lists (iovec arrays).
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <vector>

namespace vmm {

size_t total_size(std::span<const iovec> list);
// What is left of `list` without its first `bytes`. Shortens the buffers that it drops or cuts through, so the whole
// list, too, has the total size of what is left.
std::span<iovec> drop_front(std::span<iovec> list, size_t bytes);
// A list of the first `bytes` of `list`, of at most IOV_MAX buffers.
std::vector<iovec> copy_front(std::span<const iovec> list, size_t bytes);
// A list of the `bytes` bytes that come after the first `offset` ones.
std::vector<iovec> copy_range(std::span<const iovec> list, size_t offset, size_t bytes);

// Copies between a flat buffer and the first bytes of a list, which must be that long.
void gather(std::span<const iovec> from, std::span<std::byte> to);
void scatter(std::span<const std::byte> from, std::span<const iovec> to);

}  // namespace vmm
