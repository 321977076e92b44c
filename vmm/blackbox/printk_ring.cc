// Walking printk's ring; see printk_ring.h.
#include "vmm/blackbox/printk_ring.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "vmm/blackbox/printable.h"

namespace vmm {

namespace {

// What the kernel's own limits allow, rounded up; a ring that claims more is not one.
constexpr uint32_t kMaxCountBits = 20;
constexpr uint32_t kMaxSizeBits = 25;
// What is told of it, which is held several times over until it is printed.
constexpr size_t kMaxLines = size_t{1} << 18;
constexpr size_t kMaxShown = size_t{16} << 20;
constexpr uint64_t kMaxElement = 1024;    // bytes of a descriptor, or of what is known of a record
constexpr uint64_t kRecordsAtOnce = 256;  // that are read in one go

constexpr unsigned kStateShift = 62;
constexpr uint64_t kIdMask = (uint64_t{1} << kStateShift) - 1;
enum State : uint64_t { kReserved = 0, kCommitted = 1, kFinalized = 2, kReusable = 3 };
constexpr uint64_t kWord = sizeof(uint64_t);
constexpr uint64_t kLengthToFacility = 2, kLengthToLevel = 3;  // in struct printk_info, behind text_len
constexpr uint64_t kDataless = 1;                              // LPOS_DATALESS: the record has no text

// Where everything is in the structures. Members are within them; beyond that any number that the guest may say is
// right: a wrong one leads to other memory of the guest, or to none.
struct Layout {
  uint64_t desc_ring = 0, text_ring = 0;
  uint64_t count_bits = 0, descs = 0, infos = 0, head_id = 0, tail_id = 0;
  uint64_t desc_size = 0, state = 0, block = 0, begin = 0, next = 0;
  uint64_t info_size = 0, sequence = 0, time = 0, text_length = 0;
  uint64_t size_bits = 0, data = 0;

  static std::optional<Layout> of(const VmcoreInfo& info) {
    bool complete = true;
    const auto take = [&complete](std::optional<uint64_t> value) {
      complete = complete && value.has_value();
      return value.value_or(0);
    };
    Layout layout;
    layout.desc_ring = take(info.offset("printk_ringbuffer.desc_ring"));
    layout.text_ring = take(info.offset("printk_ringbuffer.text_data_ring"));
    layout.count_bits = take(info.offset("prb_desc_ring.count_bits"));
    layout.descs = take(info.offset("prb_desc_ring.descs"));
    layout.infos = take(info.offset("prb_desc_ring.infos"));
    layout.head_id = take(info.offset("prb_desc_ring.head_id"));
    layout.tail_id = take(info.offset("prb_desc_ring.tail_id"));
    layout.desc_size = take(info.size("prb_desc"));
    layout.state = take(info.offset("prb_desc.state_var"));
    layout.block = take(info.offset("prb_desc.text_blk_lpos"));
    layout.begin = take(info.offset("prb_data_blk_lpos.begin"));
    layout.next = take(info.offset("prb_data_blk_lpos.next"));
    layout.info_size = take(info.size("printk_info"));
    layout.sequence = take(info.offset("printk_info.seq"));
    layout.time = take(info.offset("printk_info.ts_nsec"));
    layout.text_length = take(info.offset("printk_info.text_len"));
    layout.size_bits = take(info.offset("prb_data_ring.size_bits"));
    layout.data = take(info.offset("prb_data_ring.data"));
    if (!complete) return std::nullopt;
    return layout;
  }

  bool is_sound() const {
    const auto ends_within = [](uint64_t size, std::initializer_list<uint64_t> offsets) {
      uint64_t end = 0;
      return std::ranges::all_of(offsets, [&end](uint64_t part) { return !__builtin_add_overflow(end, part, &end); }) &&
             end <= size;
    };
    return desc_size <= kMaxElement && info_size <= kMaxElement && ends_within(desc_size, {state, kWord}) &&
           ends_within(desc_size, {block, begin, kWord}) && ends_within(desc_size, {block, next, kWord}) &&
           ends_within(info_size, {sequence, kWord}) && ends_within(info_size, {time, kWord}) &&
           ends_within(info_size, {text_length, kLengthToLevel, 1});
  }
};

template <typename T>
T value_at(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The elements of an array of the kernel's, some at once, as a core in a file takes a while to read.
class Elements {
 public:
  Elements(const AddressSpace& kernel, uint64_t start, uint64_t size, uint64_t count)
      : kernel_(kernel), start_(start), size_(size), count_(count) {}

  // Empty when it is not in memory. Good until the next call.
  std::span<const std::byte> at(uint64_t index) {
    if (index < first_ || index - first_ >= in_hand_) {
      first_ = index / kRecordsAtOnce * kRecordsAtOnce;
      bytes_.resize(std::min(kRecordsAtOnce, count_ - first_) * size_);
      in_hand_ = bytes_.size() / size_;
      there_ = kernel_.read_some(start_ + first_ * size_, bytes_) / size_;
    }
    if (index - first_ >= there_) return {};
    return std::span(bytes_).subspan((index - first_) * size_, size_);
  }

 private:
  const AddressSpace& kernel_;
  uint64_t start_, size_, count_;
  std::vector<std::byte> bytes_;
  uint64_t first_ = 0, in_hand_ = 0, there_ = 0;
};

// The part of the text ring that a descriptor names (get_data() in printk_ringbuffer.c). A block that would not fit
// before the ring's end starts at its beginning instead. Each begins with the ID of its owner.
std::optional<std::string_view> block_text(std::string_view ring, uint64_t id, uint64_t begin, uint64_t next) {
  uint64_t owner = 0;
  if ((begin & next & kDataless) != 0) return std::string_view();
  const uint64_t size = ring.size();
  const uint64_t begin_turn = begin / size;
  const uint64_t next_turn = next / size;
  const bool wraps = begin_turn != next_turn;
  if (wraps && begin_turn + 1 != next_turn) return std::nullopt;
  const uint64_t start = wraps ? 0 : begin % size;
  const uint64_t end = next % size;
  if (end < start + sizeof owner) return std::nullopt;
  std::memcpy(&owner, ring.data() + start, sizeof owner);
  if (owner != id) return std::nullopt;
  return ring.substr(start + sizeof owner, end - start - sizeof owner);
}

// Returns how many bytes the lines have.
size_t append_lines(std::vector<LogLine>& lines, LogLine record, std::string_view text) {
  size_t bytes = 0;
  while (text.ends_with('\n')) text.remove_suffix(1);
  do {
    const std::string_view line = text.substr(0, text.find('\n'));
    record.text = printable(line);
    bytes += record.text.size();
    lines.push_back(record);
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  } while (!text.empty() && lines.size() < kMaxLines);
  return bytes;
}

}  // namespace

std::string LogLine::format() const {
  constexpr uint64_t kSecond = 1'000'000'000;
  return fmt::format("[{:5}.{:06}] {}", nanoseconds / kSecond, nanoseconds % kSecond / 1000, text);
}

KernelLog read_kernel_log(const AddressSpace& kernel, const VmcoreInfo& info) {
  const auto trouble = [](std::string_view why) { return KernelLog{{}, std::string(why)}; };
  const auto symbol = info.symbol("prb");
  if (!symbol && info.symbol("log_buf")) return trouble("the log has the layout of Linux before 5.10");
  const auto layout = Layout::of(info);
  if (!symbol || !layout) return trouble("VMCOREINFO does not say where the log is");
  if (!layout->is_sound()) {
    return trouble(fmt::format("the log has a layout that is not known: Linux {}", printable(info.release())));
  }

  const auto ring = kernel.read<uint64_t>(*symbol);
  if (!ring) return trouble("the log is not in memory");
  const uint64_t desc_ring = *ring + layout->desc_ring;
  const uint64_t text_ring = *ring + layout->text_ring;
  const auto count_bits = kernel.read<uint32_t>(desc_ring + layout->count_bits);
  const auto descs = kernel.read<uint64_t>(desc_ring + layout->descs);
  const auto infos = kernel.read<uint64_t>(desc_ring + layout->infos);
  const auto head = kernel.read<uint64_t>(desc_ring + layout->head_id);
  const auto tail = kernel.read<uint64_t>(desc_ring + layout->tail_id);
  const auto size_bits = kernel.read<uint32_t>(text_ring + layout->size_bits);
  const auto data = kernel.read<uint64_t>(text_ring + layout->data);
  if (!count_bits || !descs || !infos || !head || !tail || !size_bits || !data || *count_bits > kMaxCountBits ||
      *size_bits > kMaxSizeBits || *size_bits < 3) {
    return trouble("the log is damaged");
  }
  std::string text(size_t{1} << *size_bits, '\0');
  if (!kernel.read(*data, std::as_writable_bytes(std::span(text)))) return trouble("the log's text is not in memory");

  KernelLog log;
  const uint64_t count = uint64_t{1} << *count_bits;
  const uint64_t records = std::min(((*head - *tail) & kIdMask) + 1, count);
  Elements all_descs(kernel, *descs, layout->desc_size, count), all_infos(kernel, *infos, layout->info_size, count);
  size_t taken = 0;  // a text ring's worth at most: descriptors may not all name the same text
  size_t shown = 0;
  for (uint64_t number = 0; number < records; ++number) {
    const uint64_t id = (*tail + number) & kIdMask;
    const auto desc = all_descs.at(id % count);
    if (desc.empty()) continue;
    const auto state = value_at<uint64_t>(desc, layout->state);
    if ((state & kIdMask) != id) continue;
    if (state >> kStateShift != kCommitted && state >> kStateShift != kFinalized) continue;
    const auto about = all_infos.at(id % count);
    if (about.empty()) continue;
    const auto block = block_text(text, id, value_at<uint64_t>(desc, layout->block + layout->begin),
                                  value_at<uint64_t>(desc, layout->block + layout->next));
    if (!block) continue;
    const std::string_view record = block->substr(0, value_at<uint16_t>(about, layout->text_length));
    taken += record.size();
    if (taken > text.size()) break;
    log.whole = log.whole || value_at<uint64_t>(about, layout->sequence) == 0;
    log.by_programs =
        log.by_programs || value_at<uint8_t>(about, layout->text_length + kLengthToFacility) != 0;  // devkmsg_write()
    const unsigned level = value_at<uint8_t>(about, layout->text_length + kLengthToLevel) >> 5;
    shown += append_lines(log.lines, {value_at<uint64_t>(about, layout->time), level, {}}, record);
    if (log.lines.size() < kMaxLines && shown < kMaxShown) continue;
    log.trouble =
        fmt::format("the log has more than {} lines, or {} MiB: the rest is left out", kMaxLines, kMaxShown >> 20);
    break;
  }
  return log;
}

}  // namespace vmm
