// Reading a module's file: gABI 4.1, "Sections", for the ELF part. See module_info.h.
#include "vmm/machine/module_info.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <sstream>
#include <string_view>

#include "firmware/byte_source.h"
#include "firmware/decompress.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

namespace {

// No module comes near it; whatever does is none.
constexpr uint64_t kMaxModule = uint64_t{64} << 20;

std::optional<std::span<const std::byte>> part(std::span<const std::byte> all, uint64_t offset, uint64_t size) {
  if (offset > all.size() || size > all.size() - offset) return std::nullopt;
  return all.subspan(offset, size);
}

template <typename T>
std::optional<T> value_at(std::span<const std::byte> all, uint64_t offset) {
  const auto bytes = part(all, offset, sizeof(T));
  if (!bytes) return std::nullopt;
  T value;
  std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Empty when there is none.
std::string_view modinfo_section(std::span<const std::byte> file) {
  const auto header = value_at<Elf64_Ehdr>(file, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64)
    return {};
  const auto section = [&](unsigned index) {
    return value_at<Elf64_Shdr>(file, header->e_shoff + uint64_t{index} * sizeof(Elf64_Shdr));
  };
  const auto names_header = section(header->e_shstrndx);
  const auto names = names_header ? part(file, names_header->sh_offset, names_header->sh_size) : std::nullopt;
  if (!names) return {};
  for (unsigned index = 0; index < header->e_shnum; ++index) {
    const auto found = section(index);
    if (!found) return {};
    if (found->sh_name >= names->size()) continue;
    const std::string_view name = as_text(names->subspan(found->sh_name));
    if (name.substr(0, name.find('\0')) != ".modinfo") continue;
    const auto content = part(file, found->sh_offset, found->sh_size);
    return content ? as_text(*content) : std::string_view();
  }
  return {};
}

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> words;
  std::istringstream stream{std::string(text)};
  for (std::string word; std::getline(stream, word, at);) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

// "pre: crypto-crc32c post: NAME": what stands behind "pre:".
void add_soft(std::string_view text, std::vector<std::string>& before) {
  bool in_front = false;
  for (std::string& word : split(text, ' ')) {
    if (word.ends_with(':')) {
      in_front = word == "pre:";
    } else if (in_front) {
      before.push_back(std::move(word));
    }
  }
}

}  // namespace

std::vector<std::byte> read_module(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) throw Error(fmt::format("cannot open module '{}': {}", path, errno_text(errno)));
  const FileSource source(fd.get(), path);
  if (source.size() > kMaxModule) throw Error(fmt::format("'{}' is too large to be a module", path));
  std::vector<std::byte> content(source.size());
  content.resize(source.read_at(0, content));
  if (path.ends_with(".ko")) return content;
  const std::span packed(reinterpret_cast<const uint8_t*>(content.data()), content.size());
  const Bytes unpacked = decompress_stream(packed, kMaxModule);
  const auto bytes = std::as_bytes(std::span(unpacked));
  return {bytes.begin(), bytes.end()};
}

ModuleInfo module_info(std::span<const std::byte> content) {
  ModuleInfo info;
  for (const std::string& text : split(modinfo_section(content), '\0')) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) continue;
    const std::string_view key = std::string_view(text).substr(0, equals);
    const std::string value = text.substr(equals + 1);
    if (key == "depends") info.needs = split(value, ',');
    if (key == "softdep") add_soft(value, info.before);
    if (key == "alias") info.aliases.push_back(value);
  }
  return info;
}

}  // namespace vmm
