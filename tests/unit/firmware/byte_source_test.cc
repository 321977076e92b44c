// Byte sources: bounds, and files that are none or change.
#include "firmware/byte_source.h"

#include <fcntl.h>
#include <unistd.h>

#include "vmm/core/error.h"
#include "vmm/core/fd.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "tests/support/kernel_builder.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

UniqueFd open_file(const std::string& path) { return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); }

}  // namespace

TEST_CASE("byte source: memory is read up to its end", "[firmware][bytes]") {
  const MemorySource source(as_file("0123456789"));
  CHECK(source.read_text(8, 8) == "89");
  CHECK(source.read_text(10, 8).empty());
  CHECK(source.read_text(~uint64_t{0}, 8).empty());
}

TEST_CASE("byte source: a value is read whole or not at all", "[firmware][bytes]") {
  const MemorySource source(as_file("01234567"));
  CHECK(source.read_value<uint32_t>(4) == 0x37363534);
  CHECK_FALSE(source.read_value<uint32_t>(5));
}

TEST_CASE("byte source: a file is read up to its end", "[firmware][bytes]") {
  const TempDirectory temp;
  const UniqueFd fd = open_file(temp.file("file", "0123456789"));
  const FileSource source(fd.get(), "file");
  CHECK(source.size() == 10);
  CHECK(source.read_text(8, 8) == "89");
  CHECK(source.read_text(~uint64_t{0}, 8).empty());
}

TEST_CASE("byte source: a file that shrinks while it is loaded is an error", "[firmware][bytes]") {
  const TempDirectory temp;
  const std::string path = temp.file("file", std::string(8192, 'x'));
  const UniqueFd fd = open_file(path);
  const FileSource source(fd.get(), "file");
  REQUIRE(::truncate(path.c_str(), 4096) == 0);
  std::string buffer(8192, '\0');
  const GuestSlice slice(reinterpret_cast<std::byte*>(buffer.data()), buffer.size());
  CHECK_THROWS_WITH(source.read_into(0, slice), Contains("became shorter"));
}

TEST_CASE("byte source: what is not a regular file is named", "[firmware][bytes]") {
  const auto [path, what] = GENERATE(
      table<std::string, std::string>({{"/", "'it' is a directory"}, {"/dev/zero", "'it' is a character device"}}));
  const UniqueFd fd = open_file(path);
  CHECK_THROWS_WITH(FileSource(fd.get(), "it"), Contains(what));
}
