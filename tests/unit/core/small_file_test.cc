// Small files: whole, by a pipe as well, and with an end.
#include "vmm/core/small_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

#include "tests/support/descriptors.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("small file: it is read whole, up to its greatest size", "[small-file]") {
  const TempDirectory folder;
  const std::string text = GENERATE(std::string(), std::string("a\0b\n", 4), std::string(kMostOfSmallFile, 'x'));
  CHECK(read_small_file({}, folder.file("f", text), {}) == text);
}

TEST_CASE("small file: a pipe is read to its end", "[small-file]") {
  Pipe pipe;
  REQUIRE(::write(pipe.write.get(), "text", 4) == 4);
  pipe.write = UniqueFd();
  CHECK(read_small_file({}, fmt::format("/dev/fd/{}", pipe.read.get()), {}) == "text");
}

TEST_CASE("small file: what is larger, endless or no file is refused with the caller's remedy", "[small-file]") {
  const TempDirectory folder;
  folder.file("large", std::string(kMostOfSmallFile + 1, 'x'));
  const auto [name, why] = GENERATE(table<std::string, std::string>({{"large", "it is larger than 1 MiB"},
                                                                     {"", "Is a directory"},
                                                                     {"none", "No such file or directory"},
                                                                     {"/dev/zero", "it is larger than 1 MiB"}}));
  const std::string path = name.starts_with('/') ? name : folder(name);
  try {
    read_small_file("--flag", path, "remedy");
    FAIL("it was read");
  } catch (const Error& error) {
    CHECK(error.what() == fmt::format("cannot read --flag '{}': {}", path, why));
    CHECK(error.fix() == "remedy");
  }
}
