// The header, the descriptors and the values of KVM's statistics, read from its file; see stats.h.
#include "vmm/kvm/stats.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

namespace vmm {

namespace {

// More than any kernel has; what claims more is not understood.
constexpr uint32_t kMostStats = 1024, kMostNameBytes = 256;

bool read_at(int fd, uint64_t offset, std::span<std::byte> to) {
  return ::pread(fd, to.data(), to.size(), static_cast<off_t>(offset)) == static_cast<ssize_t>(to.size());
}

bool is_plain_count(const kvm_stats_desc& about) {
  return (about.flags & KVM_STATS_TYPE_MASK) == KVM_STATS_TYPE_CUMULATIVE &&
         (about.flags & KVM_STATS_UNIT_MASK) == KVM_STATS_UNIT_NONE && about.size == 1 && about.exponent == 0;
}

}  // namespace

KvmStats::KvmStats(const Kvm& kvm, int fd) {
  if (kvm.capability(KVM_CAP_BINARY_STATS_FD) <= 0) return;
  file_ = UniqueFd(kvm_ioctl(fd, KVM_GET_STATS_FD));
  if (file_) find_places();
}

KvmStats::KvmStats(UniqueFd file) : file_(std::move(file)) { find_places(); }

void KvmStats::find_places() {
  kvm_stats_header header{};
  if (!read_at(file_.get(), 0, std::as_writable_bytes(std::span(&header, 1)))) return;
  if (header.num_desc > kMostStats || header.name_size > kMostNameBytes) return;
  std::vector<std::byte> descriptor(sizeof(kvm_stats_desc) + header.name_size);
  for (uint64_t i = 0; i < header.num_desc; ++i) {
    if (!read_at(file_.get(), header.desc_offset + i * descriptor.size(), descriptor)) return;
    kvm_stats_desc about{};
    std::memcpy(&about, descriptor.data(), sizeof about);
    if (!is_plain_count(about)) continue;
    std::string name(reinterpret_cast<const char*>(descriptor.data() + sizeof about), header.name_size);
    name.resize(std::min(name.size(), name.find('\0')));
    places_.push_back({std::move(name), uint64_t{header.data_offset} + about.offset});
  }
}

std::vector<KvmStats::Value> KvmStats::counts() const {
  std::vector<Value> values;
  for (const Place& place : places_) {
    uint64_t value = 0;
    if (read_at(file_.get(), place.offset, std::as_writable_bytes(std::span(&value, 1)))) {
      values.push_back({place.name, value});
    }
  }
  return values;
}

std::optional<uint64_t> KvmStats::sum(std::initializer_list<std::string_view> names) const {
  std::optional<uint64_t> sum;
  for (const Place& place : places_) {
    uint64_t value = 0;
    if (std::ranges::find(names, place.name) == names.end()) continue;
    if (read_at(file_.get(), place.offset, std::as_writable_bytes(std::span(&value, 1)))) sum = sum.value_or(0) + value;
  }
  return sum;
}

void add_counts(std::vector<KvmStats::Value>& sums, const std::vector<KvmStats::Value>& more) {
  for (const KvmStats::Value& value : more) {
    const auto known = std::ranges::find(sums, value.name, &KvmStats::Value::name);
    if (known == sums.end()) {
      sums.push_back(value);
    } else {
      known->value += value.value;
    }
  }
}

}  // namespace vmm
