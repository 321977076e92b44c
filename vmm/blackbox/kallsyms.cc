// Copying and decoding the symbol table; see kallsyms.h.
#include "vmm/blackbox/kallsyms.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>

#include "vmm/blackbox/printable.h"

namespace vmm {

namespace {

constexpr uint32_t kMaxSymbols = 1 << 20;
constexpr uint64_t kMaxNames = uint64_t{16} << 20;
constexpr size_t kTokens = 256;
constexpr size_t kMaxTokenTable = 1 << 16;
constexpr size_t kMaxName = 511;  // KSYM_NAME_LEN - 1

struct Length {
  size_t tokens;
  size_t bytes;  // that say so
};

// One byte, or, with its highest bit set, seven bits and eight more.
std::optional<Length> length_at(std::string_view names, size_t place) {
  const auto byte = [names](size_t at) { return static_cast<unsigned char>(names[at]); };
  if (place >= names.size()) return std::nullopt;
  if ((byte(place) & 0x80) == 0) return Length{byte(place), 1};
  if (place + 1 >= names.size()) return std::nullopt;
  return Length{(byte(place) & 0x7fu) | static_cast<size_t>(byte(place + 1)) << 7, 2};
}

}  // namespace

Kallsyms Kallsyms::read(const AddressSpace& kernel, const VmcoreInfo& info) {
  Kallsyms table;
  const auto give_up = [](std::string_view why) {
    Kallsyms empty;
    empty.trouble_ = why;
    return empty;
  };
  if (!info.symbol("kallsyms_names") || !info.symbol("kallsyms_offsets")) {
    return give_up("VMCOREINFO does not say where the kernel's symbols are (Linux 6.0 and later do)");
  }
  table.start_ = info.symbol("_stext").value_or(0);
  if (!table.read_addresses(kernel, info) || !table.read_names(kernel, info)) {
    return give_up("the kernel's symbols are not in memory, or damaged");
  }
  // The proof that it was understood: both name one symbol alike.
  if (table.address_of("_stext") != info.symbol("_stext")) {
    return give_up(
        fmt::format("the kernel's symbols have a layout that is not known: Linux {}", printable(info.release())));
  }
  return table;
}

bool Kallsyms::read_addresses(const AddressSpace& kernel, const VmcoreInfo& info) {
  const auto count_at = info.symbol("kallsyms_num_syms");
  const uint64_t offsets_at = *info.symbol("kallsyms_offsets");
  const auto count = count_at ? kernel.read<uint32_t>(*count_at) : std::nullopt;
  if (!count || *count == 0 || *count > kMaxSymbols) return false;
  std::vector<int32_t> offsets(*count);
  if (!kernel.read(offsets_at, std::as_writable_bytes(std::span(offsets)))) return false;
  addresses_.reserve(*count);
  const auto base_at = info.symbol("kallsyms_relative_base");
  if (!base_at) {
    for (size_t i = 0; i < offsets.size(); ++i) {
      addresses_.push_back(offsets_at + i * sizeof(int32_t) + static_cast<uint64_t>(int64_t{offsets[i]}));
    }
    return true;
  }
  const auto base = kernel.read<uint64_t>(*base_at);
  if (!base) return false;
  // Up to 6.14, x86 kernels for several CPUs have per-CPU symbols at positive offsets, which are their addresses, and
  // all others at negative ones, counted down from the base (CONFIG_KALLSYMS_ABSOLUTE_PERCPU). Since the highest symbol
  // is none of the former, it tells.
  const bool absolute_percpu = offsets.back() < 0;
  for (const int32_t offset : offsets) {
    if (!absolute_percpu) {
      addresses_.push_back(*base + static_cast<uint32_t>(offset));
    } else if (offset >= 0) {
      addresses_.push_back(static_cast<uint64_t>(offset));
    } else {
      addresses_.push_back(*base - 1 - static_cast<uint64_t>(int64_t{offset}));
    }
  }
  return true;
}

bool Kallsyms::read_names(const AddressSpace& kernel, const VmcoreInfo& info) {
  const auto names = info.symbol("kallsyms_names");
  const auto table = info.symbol("kallsyms_token_table");
  const auto index = info.symbol("kallsyms_token_index");
  if (!names || !table || !index || *table <= *names || *table - *names > kMaxNames) return false;
  names_.resize(*table - *names);
  if (!kernel.read(*names, std::as_writable_bytes(std::span(names_)))) return false;
  if (!read_tokens(kernel, *table, *index)) return false;

  size_t place = 0;
  places_.reserve(addresses_.size());
  for (size_t i = 0; i < addresses_.size(); ++i) {
    const auto length = length_at(names_, place);
    if (!length) return false;
    places_.push_back(static_cast<uint32_t>(place));
    place += length->bytes + length->tokens;
  }
  return place <= names_.size();
}

bool Kallsyms::read_tokens(const AddressSpace& kernel, uint64_t table, uint64_t index) {
  std::vector<uint16_t> starts(kTokens);
  if (!kernel.read(index, std::as_writable_bytes(std::span(starts)))) return false;
  token_table_.resize(kMaxTokenTable);
  token_table_.resize(kernel.read_some(table, std::as_writable_bytes(std::span(token_table_))));
  for (const size_t start : starts) {
    const std::string_view text = std::string_view(token_table_).substr(std::min(start, token_table_.size()), kMaxName);
    tokens_.push_back({start, std::min(text.find('\0'), text.size())});
  }
  return true;
}

std::string_view Kallsyms::tokens(size_t symbol) const {
  const auto length = length_at(names_, places_[symbol]);
  return std::string_view(names_).substr(places_[symbol] + length->bytes, length->tokens);
}

std::string_view Kallsyms::token_text(char token) const {
  const Token& found = tokens_[static_cast<unsigned char>(token)];
  return found.length == 0 ? std::string_view() : std::string_view(token_table_).substr(found.start, found.length);
}

bool Kallsyms::has_name(size_t symbol, std::string_view name) const {
  bool type_seen = false;
  for (const char token : tokens(symbol)) {
    std::string_view text = token_text(token);
    if (text.empty()) return false;
    if (!type_seen) text.remove_prefix(1);
    type_seen = true;
    if (!name.starts_with(text)) return false;
    name.remove_prefix(text.size());
  }
  return type_seen && name.empty();
}

std::optional<uint64_t> Kallsyms::address_of(std::string_view name) const {
  for (size_t i = 0; i < places_.size(); ++i) {
    if (has_name(i, name)) return addresses_[i];
  }
  return std::nullopt;
}

// The first of several symbols at one address, as the kernel has it.
std::optional<size_t> Kallsyms::index_of(uint64_t address) const {
  if (address < start_) return std::nullopt;
  const auto above = std::ranges::upper_bound(addresses_, address);
  if (above == addresses_.begin() || above == addresses_.end()) return std::nullopt;
  const auto found = std::ranges::lower_bound(addresses_.begin(), above, *(above - 1));
  return static_cast<size_t>(found - addresses_.begin());
}

char Kallsyms::type_of(size_t symbol) const {
  const std::string_view name = tokens(symbol);
  const std::string_view text = name.empty() ? name : token_text(name[0]);
  return text.empty() ? '\0' : text[0];
}

bool Kallsyms::is_code(uint64_t address) const {
  const auto symbol = index_of(address);
  return symbol && std::string_view("tTwW").find(type_of(*symbol)) != std::string_view::npos;
}

std::optional<Kallsyms::Symbol> Kallsyms::find(uint64_t address) const {
  const auto symbol = index_of(address);
  if (!symbol) return std::nullopt;
  std::string name;
  for (const char token : tokens(*symbol)) {
    const std::string_view text = token_text(token);
    name += text;
    if (text.empty() || name.size() > kMaxName) break;
  }
  if (name.size() < 2) return std::nullopt;
  return Symbol{printable(std::string_view(name).substr(1, kMaxName)), addresses_[*symbol], is_code(address)};
}

}  // namespace vmm
