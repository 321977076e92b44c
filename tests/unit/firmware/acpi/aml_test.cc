// AML encodings, against ACPI 6.4 §20.2 and §6.4.
#include "firmware/acpi/aml.h"

#include "vmm/core/check.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

using namespace vmm;

namespace {

Bytes head(const Bytes& bytes, size_t length) { return {bytes.begin(), bytes.begin() + static_cast<long>(length)}; }

}  // namespace

TEST_CASE("aml: a package length grows at each of its limits", "[firmware][aml]") {
  const auto [content, expected] = GENERATE(table<size_t, Bytes>({{0, {0x01}},
                                                                  {62, {0x3f}},
                                                                  {63, {0x41, 0x04}},  // 65 = 2 + 63
                                                                  {0xffd, {0x4f, 0xff}},
                                                                  {0xffe, {0x81, 0x00, 0x01}},
                                                                  {0xffffc, {0x8f, 0xff, 0xff}},
                                                                  {0xffffd, {0xc1, 0x00, 0x00, 0x01}}}));
  CHECK(aml::package_length(content) == expected);
}

TEST_CASE("aml: names have one, two or many segments of four characters", "[firmware][aml]") {
  CHECK(aml::name_string("_SB") == Bytes{'_', 'S', 'B', '_'});
  CHECK(aml::name_string("\\_S5") == Bytes{'\\', '_', 'S', '5', '_'});
  CHECK(aml::name_string("\\_SB.PCI0") == Bytes{'\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0'});
  CHECK(aml::name_string("A.B.C") == Bytes{0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_'});
  CHECK(aml::name_string("\\") == Bytes{'\\', 0});
}

TEST_CASE("aml: an integer takes the shortest form", "[firmware][aml]") {
  CHECK(aml::integer(0) == Bytes{0x00});
  CHECK(aml::integer(1) == Bytes{0x01});
  CHECK(aml::integer(2) == Bytes{0x0a, 2});
  CHECK(aml::integer(0xff) == Bytes{0x0a, 0xff});
  CHECK(aml::integer(0x100) == Bytes{0x0b, 0x00, 0x01});
  CHECK(aml::integer(0x10000) == Bytes{0x0c, 0, 0, 1, 0});
  CHECK(aml::integer(0x100000000) == Bytes{0x0e, 0, 0, 0, 0, 1, 0, 0, 0});
}

TEST_CASE("aml: an EISA id is compressed to a dword", "[firmware][aml]") {
  CHECK(aml::eisa_id("PNP0A08") == Bytes{0x0c, 0x41, 0xd0, 0x0a, 0x08});
  CHECK(aml::eisa_id("PNP0501") == Bytes{0x0c, 0x41, 0xd0, 0x05, 0x01});
}

TEST_CASE("aml: a buffer and a package of more than 63 bytes have long lengths", "[firmware][aml]") {
  CHECK(head(aml::buffer(Bytes(100)), 5) == Bytes{0x11, 0x48, 0x06, 0x0a, 100});
  CHECK(head(aml::package(aml::Terms(255, aml::integer(0))), 4) == Bytes{0x12, 0x42, 0x10, 255});
}

TEST_CASE("aml: a uuid has its first three fields little endian", "[firmware][aml]") {
  const Bytes bytes = aml::uuid({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  CHECK(Bytes(bytes.end() - 16, bytes.end()) == Bytes{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15});
}

TEST_CASE("aml: resource descriptors have their sizes", "[firmware][aml]") {
  CHECK(aml::io_ports(0x3f8, 8) == Bytes{0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8});
  CHECK(aml::irq(4) == Bytes{0x22, 0x10, 0});
  CHECK(aml::fixed_memory(0xe0000000, 0x100000).size() == 12);
  CHECK(aml::bus_window(0, 0).size() == 16);
  CHECK(aml::memory_window(0xc0000000, 0xdfffffff).size() == 26);
}

TEST_CASE("aml: a window counts its last address", "[firmware][aml]") {
  const Bytes window = aml::memory_window(0xc0000000, 0xdfffffff);
  CHECK(Bytes(window.end() - 4, window.end()) == Bytes{0, 0, 0, 0x20});
}
