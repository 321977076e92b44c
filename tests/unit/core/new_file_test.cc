// New files: they appear whole or not at all, and what is no file is not taken from others.
#include "vmm/core/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "tests/support/descriptors.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

size_t files_in(const TempDirectory& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

unsigned mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777;
}

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("new file: what was there stays until the new one is whole", "[new-file]") {
  const TempDirectory folder;
  const std::string path = folder.file("f", "old");
  NewFile file({}, path, 0640);
  file.append(bytes("be"));
  file.append(bytes("gin"));
  file.set_size(8);
  file.write_at(6, bytes("xy"));
  CHECK(contents(path) == "old");
  file.finish();
  CHECK(contents(path) == std::string("begin\0xy", 8));
  CHECK(mode_of(path) == 0640);
  CHECK(files_in(folder) == 1);
}

TEST_CASE("new file: of one that is not finished nothing is left", "[new-file]") {
  const TempDirectory folder;
  const std::string path = folder.file("f", "old");
  { NewFile({}, path, 0644).append(bytes("half")); }
  { NewFile({}, folder("g"), 0644).append(bytes("half")); }
  CHECK(contents(path) == "old");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("new file: a place that cannot be written is told with its errno, and a look leaves no trace", "[new-file]") {
  const TempDirectory folder;
  const std::string old = folder.file("f", "old");
  NewFile::check("--result", old);
  NewFile::check("--result", folder("g"));
  CHECK(contents(old) == "old");
  CHECK(files_in(folder) == 1);
  const auto [name, why] = GENERATE(table<std::string, std::string>({
      {"", "Is a directory"},
      {"no/f", "No such file or directory"},
      {"f/g", "Not a directory"},
      {std::string(255, 'x'), "File name too long"},
  }));
  const std::string path = folder(name);
  CHECK_THROWS_WITH(NewFile::check("--result", path), "cannot write --result '" + path + "': " + why);
  CHECK_THROWS_WITH(write_whole_file(path, "x"), "cannot write '" + path + "': " + why);
  CHECK_THROWS_WITH(NewFile::check({}, ""), "cannot write '': No such file or directory");
}

TEST_CASE("new file: a full disk is told, with a remedy", "[new-file]") {
  try {
    write_whole_file("/dev/full", "x");
    FAIL("it was written");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), Contains("No space left on device"));
    CHECK_THAT(error.fix(), Contains("make room"));
  }
}

TEST_CASE("new file: a limit of this process's own is told apart from a full disk", "[new-file]") {
  const TempDirectory folder;
  const FileSizeLimit limit(1024);
  try {
    write_whole_file(folder("f"), std::string(1025, 'x'));
    FAIL("it was written");
  } catch (const Error& error) {
    CHECK(error.what() == "cannot write '" + folder("f") + "': File too large");
    CHECK(error.fix() == "ulimit -f unlimited");
  }
  CHECK(files_in(folder) == 0);
}

TEST_CASE("new file: a device or a pipe is written, and stays what it is", "[new-file]") {
  struct stat before {
  }, after{};
  REQUIRE(::stat("/dev/null", &before) == 0);
  NewFile::check({}, "/dev/null");
  write_whole_file("/dev/null", "x");
  REQUIRE(::lstat("/dev/null", &after) == 0);
  CHECK(S_ISCHR(after.st_mode));
  CHECK(after.st_ino == before.st_ino);

  const TempDirectory folder;
  REQUIRE(::mkfifo(folder("pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(write_whole_file(folder("pipe"), "x"), Contains("No such device or address"));
  const UniqueFd reader(::open(folder("pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  write_whole_file(folder("pipe"), "text");
  std::array<char, 8> text{};
  CHECK(::read(reader.get(), text.data(), text.size()) == 4);
}

TEST_CASE("new file: behind a symbolic link it is the file that is replaced", "[new-file]") {
  const TempDirectory folder;
  folder.file("target", "old");
  std::filesystem::create_symlink("target", folder("link"));
  write_whole_file(folder("link"), "new");
  CHECK(std::filesystem::is_symlink(folder("link")));
  CHECK(contents(folder("target")) == "new");
}

TEST_CASE("new file: in a folder for everybody another user's links and pipes lead nowhere", "[new-file]") {
  if (::geteuid() != 0) {
    WARN("skipped: only root can make files of two users");
    return;
  }
  const TempDirectory folder;
  const std::string precious = folder.file("precious", "old");
  const std::string open = folder("open");
  std::filesystem::create_directory(open);
  std::filesystem::permissions(open, static_cast<std::filesystem::perms>(01777));
  constexpr uid_t kSomebody = 65533;
  for (const char* target : {"../precious", "/dev/null", "../new"}) {
    const std::string planted = open + "/planted";
    std::filesystem::remove(planted);
    std::filesystem::create_symlink(target, planted);
    CHECK_NOTHROW(NewFile::check({}, planted));  // our own is followed
    REQUIRE(::lchown(planted.c_str(), kSomebody, kSomebody) == 0);
    CHECK_THROWS_WITH(NewFile::check({}, planted), Contains("Permission denied"));
    CHECK_THROWS_WITH(write_whole_file(planted, "x"), Contains("Permission denied"));
  }
  REQUIRE(::mkfifo((open + "/pipe").c_str(), 0666) == 0);
  REQUIRE(::chown((open + "/pipe").c_str(), kSomebody, kSomebody) == 0);
  CHECK_THROWS_WITH(write_whole_file(open + "/pipe", "x"), Contains("Permission denied"));
  CHECK(contents(precious) == "old");
  CHECK_FALSE(std::filesystem::exists(folder("new")));
}

TEST_CASE("new file: a folder that changes its name gets it all the same", "[new-file]") {
  const TempDirectory folder;
  std::filesystem::create_directory(folder("before"));
  NewFile file({}, folder("before/f"), 0644);
  std::filesystem::rename(folder("before"), folder("after"));
  std::filesystem::create_directory(folder("before"));
  file.finish();
  CHECK(std::filesystem::exists(folder("after/f")));
  CHECK(std::filesystem::is_empty(folder("before")));
}

TEST_CASE("new file: in a folder for everybody another user's file is not ours to replace", "[new-file]") {
  if (::geteuid() != 0) {
    WARN("skipped: only root can make files of two users");
    return;
  }
  const TempDirectory folder;
  const std::string path = folder.file("f", "old");
  std::filesystem::permissions(folder.path(), static_cast<std::filesystem::perms>(01777));
  constexpr uid_t kSomebody = 65533, kAnother = 65534;
  REQUIRE(::chown(path.c_str(), kSomebody, kSomebody) == 0);
  REQUIRE(::seteuid(kAnother) == 0);
  CHECK_THROWS_WITH(NewFile::check({}, path), Contains("Operation not permitted"));
  CHECK_NOTHROW(NewFile::check({}, folder("g")));
  REQUIRE(::seteuid(0) == 0);
}
