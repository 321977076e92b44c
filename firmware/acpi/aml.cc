// AML encodings; see aml.h. Opcodes are from ACPI 6.4 table 20.2, "AML Byte Stream Byte Values".
#include "firmware/acpi/aml.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "vmm/core/check.h"

namespace vmm::aml {
namespace {

enum Opcode : uint8_t {
  kZeroOp = 0x00,
  kOneOp = 0x01,
  kNameOp = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDWordPrefix = 0x0c,
  kStringPrefix = 0x0d,
  kQWordPrefix = 0x0e,
  kScopeOp = 0x10,
  kBufferOp = 0x11,
  kPackageOp = 0x12,
  kMethodOp = 0x14,
  kDualNamePrefix = 0x2e,
  kMultiNamePrefix = 0x2f,
  kExtOpPrefix = 0x5b,
  kLocal0Op = 0x60,
  kArg0Op = 0x68,
  kStoreOp = 0x70,
  kAndOp = 0x7b,
  kOrOp = 0x7d,
  kDeviceOp = 0x82,  // after kExtOpPrefix
  kCreateDWordFieldOp = 0x8a,
  kLNotOp = 0x92,
  kLEqualOp = 0x93,
  kIfOp = 0xa0,
  kElseOp = 0xa1,
  kReturnOp = 0xa4,
};

Bytes join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Bytes join(const Terms& terms) {
  Bytes all;
  for (const Bytes& term : terms) all.insert(all.end(), term.begin(), term.end());
  return all;
}

Bytes little_endian(uint64_t value, size_t size) {
  Bytes bytes(size);
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(value);
    value >>= 8;
  }
  return bytes;
}

// opcode, PkgLength, content
Bytes packaged(const Bytes& opcode, const Bytes& content) {
  return join({opcode, package_length(content.size()), content});
}

uint8_t hex_digit(char digit) {
  const size_t value = std::string_view("0123456789ABCDEF").find(digit);
  CHECK(value < 16);
  return static_cast<uint8_t>(value);
}

// The word and dword address space descriptors (§6.4.3.5) differ in the width of five numbers only: granularity,
// first, last, translation offset, length. The window is fixed at both ends and decoded by the bridge for its children.
Bytes address_space(size_t width, uint8_t type, uint8_t type_flags, uint32_t first, uint32_t last) {
  constexpr uint8_t kWordTag = 0x88, kDWordTag = 0x87, kMinAndMaxFixed = 0x0c;
  const Bytes body = join({{type, kMinAndMaxFixed, type_flags},
                           little_endian(0, width),
                           little_endian(first, width),
                           little_endian(last, width),
                           little_endian(0, width),
                           little_endian(uint64_t{last} - first + 1, width)});
  return join({{width == 2 ? kWordTag : kDWordTag}, little_endian(body.size(), 2), body});
}

}  // namespace

Bytes package_length(size_t content) {
  // A length of one byte has six bits; otherwise the first byte has the number of bytes that follow and four bits.
  if (content + 1 < 1u << 6) return {static_cast<uint8_t>(content + 1)};
  for (size_t following = 1; following <= 3; ++following) {
    const size_t total = content + 1 + following;
    if (total >= 1u << (4 + 8 * following)) continue;
    return join({{static_cast<uint8_t>(following << 6 | (total & 0xf))}, little_endian(total >> 4, following)});
  }
  UNREACHABLE();
}

Bytes name_string(std::string_view path) {
  Bytes prefix;
  if (path.starts_with('\\')) {
    prefix.push_back('\\');
    path.remove_prefix(1);
  }
  Terms segments;
  while (!path.empty()) {
    std::string segment(path.substr(0, path.find('.')));
    path.remove_prefix(std::min(path.size(), segment.size() + 1));
    CHECK(!segment.empty() && segment.size() <= 4);
    segment.resize(4, '_');
    segments.emplace_back(segment.begin(), segment.end());
  }
  CHECK(segments.size() <= 255);
  if (segments.empty()) prefix.push_back(0);  // NullName
  if (segments.size() == 2) prefix.push_back(kDualNamePrefix);
  if (segments.size() > 2) prefix = join({prefix, {kMultiNamePrefix, static_cast<uint8_t>(segments.size())}});
  return join({prefix, join(segments)});
}

Bytes integer(uint64_t value) {
  if (value == 0) return {kZeroOp};
  if (value == 1) return {kOneOp};
  if (value <= UINT8_MAX) return join({{kBytePrefix}, little_endian(value, 1)});
  if (value <= UINT16_MAX) return join({{kWordPrefix}, little_endian(value, 2)});
  if (value <= UINT32_MAX) return join({{kDWordPrefix}, little_endian(value, 4)});
  return join({{kQWordPrefix}, little_endian(value, 8)});
}

Bytes string(std::string_view text) { return join({{kStringPrefix}, Bytes(text.begin(), text.end()), {0}}); }

Bytes eisa_id(std::string_view id) {
  CHECK(id.size() == 7);
  const auto letter = [&](size_t index) { return static_cast<unsigned>(id[index] - '@') & 0x1f; };
  const auto byte = [&](size_t index) {
    return static_cast<uint8_t>(hex_digit(id[index]) << 4 | hex_digit(id[index + 1]));
  };
  const unsigned vendor = letter(0) << 10 | letter(1) << 5 | letter(2);
  return {kDWordPrefix, static_cast<uint8_t>(vendor >> 8), static_cast<uint8_t>(vendor), byte(3), byte(5)};
}

Bytes uuid(const std::array<uint8_t, 16>& bytes) {
  // ToUUID (§19.6.142): the first three fields are little endian, the rest is in order.
  constexpr std::array<size_t, 16> kOrder = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  Bytes content;
  for (const size_t index : kOrder) content.push_back(bytes[index]);
  return buffer(content);
}

Bytes buffer(const Bytes& content) { return packaged({kBufferOp}, join({integer(content.size()), content})); }

Bytes package(const Terms& elements) {
  CHECK(elements.size() <= 255);
  return packaged({kPackageOp}, join({{static_cast<uint8_t>(elements.size())}, join(elements)}));
}

Bytes name(std::string_view path, const Bytes& value) { return join({{kNameOp}, name_string(path), value}); }

Bytes scope(std::string_view path, const Terms& terms) {
  return packaged({kScopeOp}, join({name_string(path), join(terms)}));
}

Bytes device(std::string_view path, const Terms& terms) {
  return packaged({kExtOpPrefix, kDeviceOp}, join({name_string(path), join(terms)}));
}

Bytes method(std::string_view path, uint8_t arguments, const Terms& terms) {
  CHECK(arguments <= 7);
  return packaged({kMethodOp}, join({name_string(path), {arguments}, join(terms)}));
}

Bytes arg(uint8_t index) { return {static_cast<uint8_t>(kArg0Op + index)}; }
Bytes local(uint8_t index) { return {static_cast<uint8_t>(kLocal0Op + index)}; }

Bytes create_dword_field(const Bytes& source, uint64_t byte_index, std::string_view field) {
  return join({{kCreateDWordFieldOp}, source, integer(byte_index), name_string(field)});
}

Bytes store(const Bytes& value, const Bytes& target) { return join({{kStoreOp}, value, target}); }

Bytes bit_and(const Bytes& left, const Bytes& right, const Bytes& target) {
  return join({{kAndOp}, left, right, target});
}

Bytes bit_or(const Bytes& left, const Bytes& right, const Bytes& target) {
  return join({{kOrOp}, left, right, target});
}

Bytes equal(const Bytes& left, const Bytes& right) { return join({{kLEqualOp}, left, right}); }
Bytes logical_not(const Bytes& operand) { return join({{kLNotOp}, operand}); }

Bytes if_then(const Bytes& condition, const Terms& terms) { return packaged({kIfOp}, join({condition, join(terms)})); }

Bytes otherwise(const Terms& terms) { return packaged({kElseOp}, join(terms)); }
Bytes return_value(const Bytes& value) { return join({{kReturnOp}, value}); }

Bytes resources(const Terms& descriptors) {
  constexpr uint8_t kEndTag = 0x79;  // its checksum byte may be zero: "treated as if the checksum were correct"
  return buffer(join({join(descriptors), {kEndTag, 0}}));
}

Bytes io_ports(uint16_t start, uint8_t count) {
  constexpr uint8_t kTag = 0x47, kDecode16 = 1, kAlignment = 1;
  return join({{kTag, kDecode16}, little_endian(start, 2), little_endian(start, 2), {kAlignment, count}});
}

Bytes irq(uint8_t line) {
  CHECK(line < 16);
  constexpr uint8_t kTagWithoutFlags = 0x22;
  return join({{kTagWithoutFlags}, little_endian(1u << line, 2)});
}

Bytes fixed_memory(uint32_t start, uint32_t size) {
  constexpr uint8_t kTag = 0x86, kReadWrite = 1;
  return join({{kTag}, little_endian(9, 2), {kReadWrite}, little_endian(start, 4), little_endian(size, 4)});
}

Bytes bus_window(uint16_t first, uint16_t last) { return address_space(2, 2, 0, first, last); }

Bytes io_window(uint16_t first, uint16_t last) {
  constexpr uint8_t kEntireRange = 3;
  return address_space(2, 1, kEntireRange, first, last);
}

Bytes memory_window(uint32_t first, uint32_t last) {
  constexpr uint8_t kReadWriteNonCacheable = 1;
  return address_space(4, 0, kReadWriteNonCacheable, first, last);
}

}  // namespace vmm::aml
