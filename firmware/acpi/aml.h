// AML builder: the byte code of ACPI's differentiated system description table.
//
// Every function returns the encoding of one term, and a term that contains others takes them as arguments, so a
// table reads like the ASL it compiles to:  device("RTC", {name("_HID", eisa_id("PNP0B00")), ...}).
// Encodings are those of ACPI 6.4 §20.2 (terms) and §6.4 (resource descriptors).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "firmware/bytes.h"

namespace vmm::aml {

using Terms = std::vector<Bytes>;

// The length that heads a package: it counts itself, and takes one to four bytes (§20.2.4).
Bytes package_length(size_t content);

// "\\_SB_.PCI0": segments are padded with '_' to four characters (§20.2.2).
Bytes name_string(std::string_view path);

// Data objects (§20.2.3).
Bytes integer(uint64_t value);
Bytes string(std::string_view text);
Bytes eisa_id(std::string_view id);                // "PNP0A08", three letters and four hexadecimal digits
Bytes uuid(const std::array<uint8_t, 16>& bytes);  // as a buffer; `bytes` in the order of the text
Bytes buffer(const Bytes& content);
Bytes package(const Terms& elements);  // at most 255 elements

// Named objects (§20.2.5.1, §20.2.5.2).
Bytes name(std::string_view path, const Bytes& value);
Bytes scope(std::string_view path, const Terms& terms);
Bytes device(std::string_view path, const Terms& terms);
Bytes method(std::string_view path, uint8_t arguments, const Terms& terms);

// Statements and expressions (§20.2.5.3, §20.2.5.4).
Bytes arg(uint8_t index);
Bytes local(uint8_t index);
Bytes create_dword_field(const Bytes& source, uint64_t byte_index, std::string_view field);
Bytes store(const Bytes& value, const Bytes& target);
Bytes bit_and(const Bytes& left, const Bytes& right, const Bytes& target);
Bytes bit_or(const Bytes& left, const Bytes& right, const Bytes& target);
Bytes equal(const Bytes& left, const Bytes& right);
Bytes logical_not(const Bytes& operand);
Bytes if_then(const Bytes& condition, const Terms& terms);
Bytes otherwise(const Terms& terms);
Bytes return_value(const Bytes& value);

// Resource descriptors, and the buffer that holds a list of them (§6.4).
Bytes resources(const Terms& descriptors);
Bytes io_ports(uint16_t start, uint8_t count);
Bytes irq(uint8_t line);  // edge triggered, active high, as on ISA
Bytes fixed_memory(uint32_t start, uint32_t size);
Bytes bus_window(uint16_t first, uint16_t last);
Bytes io_window(uint16_t first, uint16_t last);
Bytes memory_window(uint32_t first, uint32_t last);

}  // namespace vmm::aml
