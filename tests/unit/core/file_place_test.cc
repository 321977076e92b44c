// Where a path leads.
#include "vmm/core/file_place.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <filesystem>

#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("file place: links are followed to the folder and the name behind them", "[new-file]") {
  const TempDirectory folder;
  std::filesystem::create_directory(folder("inner"));
  folder.file("inner/file", "text");
  std::filesystem::create_symlink("second", folder("first"));
  std::filesystem::create_symlink("inner/file", folder("second"));
  FilePlace place;
  REQUIRE(FilePlace::find(folder("first"), place) == 0);
  CHECK(place.name == "file");
  struct stat found {
  }, wanted{};
  REQUIRE(::fstat(place.there.get(), &found) == 0);
  REQUIRE(::stat(folder("inner/file").c_str(), &wanted) == 0);
  CHECK(found.st_ino == wanted.st_ino);
}

TEST_CASE("file place: a name that nothing has is one", "[new-file]") {
  const TempDirectory folder;
  std::filesystem::create_symlink("new", folder("link"));
  FilePlace place;
  CHECK(FilePlace::find(folder("link"), place) == 0);
  CHECK(place.name == "new");
  CHECK_FALSE(place.there);
}

TEST_CASE("file place: links in a circle lead nowhere, nor do names that are none", "[new-file]") {
  const TempDirectory folder;
  std::filesystem::create_symlink("a", folder("b"));
  std::filesystem::create_symlink("b", folder("a"));
  FilePlace place;
  CHECK(FilePlace::find(folder("a"), place) == ELOOP);
  CHECK(FilePlace::find("", place) == ENOENT);
  CHECK(FilePlace::find(folder(".."), place) == EISDIR);
}
