// Reading and finding VMCOREINFO; see vmcoreinfo.h.
#include "vmm/blackbox/vmcoreinfo.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cstring>
#include <span>

namespace vmm {

namespace {

constexpr std::string_view kFirstKey = "OSRELEASE=";
constexpr std::string_view kNoteName = "VMCOREINFO";
constexpr size_t kNameInNote = 12;       // after the three words of an Elf64_Nhdr
constexpr size_t kTextInNote = 12 + 12;  // and after the name, padded
constexpr unsigned kMaxCandidates = 1024;

template <typename T>
std::optional<T> parse_number(std::string_view text, int base) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<VmcoreInfo> VmcoreInfo::parse(std::string_view text) {
  if (!text.starts_with(kFirstKey)) return std::nullopt;
  text = text.substr(0, text.find('\0'));
  VmcoreInfo info;
  info.text_ = text;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    info.lines_.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return info;
}

std::string VmcoreInfo::line(std::string_view key) const {
  const auto found = lines_.find(key);
  return found == lines_.end() ? std::string() : found->second;
}

std::string VmcoreInfo::release() const { return line("OSRELEASE"); }
std::string VmcoreInfo::build_id() const { return line("BUILD-ID"); }

std::optional<uint64_t> VmcoreInfo::value(std::string_view kind, std::string_view name, int base) const {
  const auto found = lines_.find(fmt::format("{}({})", kind, name));
  return found == lines_.end() ? std::nullopt : parse_number<uint64_t>(found->second, base);
}

std::optional<uint64_t> VmcoreInfo::symbol(std::string_view name) const { return value("SYMBOL", name, 16); }
std::optional<uint64_t> VmcoreInfo::size(std::string_view name) const { return value("SIZE", name, 10); }
std::optional<uint64_t> VmcoreInfo::offset(std::string_view name) const { return value("OFFSET", name, 10); }

std::vector<uint64_t> VmcoreInfo::symbols() const {
  constexpr std::string_view kKind = "SYMBOL(";
  std::vector<uint64_t> symbols;
  for (auto line = lines_.lower_bound(kKind); line != lines_.end() && line->first.starts_with(kKind); ++line) {
    if (const auto address = parse_number<uint64_t>(line->second, 16)) symbols.push_back(*address);
  }
  return symbols;
}

std::optional<int64_t> VmcoreInfo::number(std::string_view name) const {
  constexpr std::string_view kHexadecimal = "0x";
  const std::string found = line(fmt::format("NUMBER({})", name));
  if (!found.starts_with(kHexadecimal)) return parse_number<int64_t>(found, 10);
  const auto bits = parse_number<uint64_t>(std::string_view(found).substr(kHexadecimal.size()), 16);
  return bits ? std::optional(static_cast<int64_t>(*bits)) : std::nullopt;
}

std::optional<uint64_t> VmcoreInfo::page_size() const { return parse_number<uint64_t>(line("PAGESIZE"), 10); }

std::optional<uint64_t> VmcoreInfo::kernel_offset() const {
  const auto found = lines_.find("KERNELOFFSET");
  return found == lines_.end() ? std::nullopt : parse_number<uint64_t>(found->second, 16);
}

bool find_vmcoreinfo(const PhysicalMemory& memory, const std::function<bool(const VmcoreInfo&)>& accept) {
  unsigned candidates = 0;
  bool accepted = false;
  memory.for_each_touched_page([&](GuestAddress page) {
    const auto head = memory.read<std::array<char, kTextInNote>>(page);
    if (!head) return true;
    const std::string_view start(head->data(), head->size());
    const bool bare = start.starts_with(kFirstKey);
    if (!bare && !start.substr(kNameInNote).starts_with(kNoteName)) return true;
    std::array<char, PhysicalMemory::kPageSize> text;
    if (!memory.read(page, std::as_writable_bytes(std::span(text)))) return true;
    const auto info = VmcoreInfo::parse(std::string_view(text.data(), text.size()).substr(bare ? 0 : kTextInNote));
    accepted = info && accept(*info);
    return !accepted && ++candidates < kMaxCandidates;
  });
  return accepted;
}

}  // namespace vmm
