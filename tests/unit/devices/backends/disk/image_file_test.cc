// What may be a disk and what may not.
#include "devices/backends/disk/image_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

using Mode = ImageFile::Mode;
using Cache = ImageFile::Cache;

ImageFile open_image(const std::string& path) { return ImageFile::open(path, Mode::kReadWrite, Cache::kHost); }

std::string fix_of(const std::string& path) {
  try {
    open_image(path);
  } catch (const Error& error) {
    return error.fix();
  }
  return {};
}

void make_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

}  // namespace

TEST_CASE("image file: a file of whole sectors is a disk", "[backends][image-file]") {
  const TempFile file(1024);
  const ImageFile image = open_image(file.path());
  CHECK(image.size == 1024);
  CHECK(image.topology.logical_block == 512);
  CHECK(image.topology.physical_block >= 512);
  CHECK(image.offset_alignment == 1);
}

TEST_CASE("image file: a file that is not whole sectors is refused", "[backends][image-file]") {
  const uint64_t size = GENERATE(0u, 1u, 511u, 513u);
  const TempFile file(size);
  CHECK_THROWS_AS(open_image(file.path()), Error);
  CHECK(file.size() == size);
}

TEST_CASE("image file: an empty file is refused by that name, with a way out", "[backends][image-file]") {
  const TempFile file(0);
  CHECK_THROWS_WITH(open_image(file.path()), Contains("it is empty"));
}

TEST_CASE("image file: a directory is refused by name", "[backends][image-file]") {
  CHECK_THROWS_WITH(open_image("/tmp"), Contains("it is a directory"));
}

TEST_CASE("image file: a FIFO without a writer is refused without waiting", "[backends][image-file]") {
  const TempDirectory directory;
  const std::string path = directory("fifo");
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK_THROWS_WITH(open_image(path), Contains("it is a FIFO"));
}

TEST_CASE("image file: a socket is refused by name", "[backends][image-file]") {
  const TempDirectory directory;
  make_socket(directory("socket"));
  CHECK_THROWS_WITH(open_image(directory("socket")), Contains("it is a socket"));
}

TEST_CASE("image file: a character device is refused by name", "[backends][image-file]") {
  CHECK_THROWS_WITH(open_image("/dev/zero"), Contains("it is a character device"));
}

TEST_CASE("image file: a symbolic link to a disk is followed", "[backends][image-file]") {
  const TempFile file(4096);
  const TempDirectory directory;
  std::filesystem::create_symlink(file.path(), directory("link"));
  CHECK(open_image(directory("link")).size == 4096);
}

TEST_CASE("image file: what is not there is named", "[backends][image-file]") {
  CHECK_THROWS_WITH(open_image("/tmp/no/such/disk.img"), Contains("/tmp/no/such/disk.img") && Contains("No such file"));
  CHECK_THAT(fix_of("/tmp/no/such/disk.img"), Contains("truncate -s 2G /tmp/no/such/disk.img"));
}

TEST_CASE("image file: a compressed image is to be decompressed, not padded", "[backends][image-file]") {
  const auto magic = GENERATE(as<std::string>(), "\x1f\x8b", std::string("\xfd\x37zXZ\0", 6), "\x28\xb5\x2f\xfd");
  TempFile file(1000);
  CHECK_THAT(fix_of(file.path()), Contains("pad it"));
  file.write(0, magic);
  CHECK_THAT(fix_of(file.path()), Contains("decompress"));
}

TEST_CASE("image file: a qcow2 header is bytes like others", "[backends][image-file]") {
  TempFile file(1 << 20);
  file.write(0, std::string("QFI\xfb\0\0\0\3", 8));
  const ImageFile image = open_image(file.path());
  CHECK(image.size == 1 << 20);
  CHECK(file.read(0, 4) == "QFI\xfb");
}

TEST_CASE("image file: O_DIRECT tells the guest the host's alignment as its physical block", "[backends][image-file]") {
  const TempFile file(1 << 20);
  const ImageFile image = ImageFile::open(file.path(), Mode::kReadOnly, Cache::kDirect);
  CHECK(image.offset_alignment >= 512);
  CHECK(image.topology.physical_block >= image.offset_alignment);
  CHECK(image.topology.logical_block == 512);
}

TEST_CASE("image file: a temporary file has the size and no name", "[backends][image-file]") {
  const TempFile file(1 << 20);
  const auto count = [&file] {
    const auto files = std::filesystem::directory_iterator(std::filesystem::path(file.path()).parent_path());
    return std::distance(std::filesystem::begin(files), std::filesystem::end(files));
  };
  const auto before = count();
  const ImageFile image = ImageFile::temporary(uint64_t{1} << 40, file.path());
  CHECK(storage_size(image.fd.get()) == uint64_t{1} << 40);
  CHECK(count() == before);
}

TEST_CASE("image file: the size known to the kernel is the size", "[backends][image-file]") {
  TempFile file(4096);
  const ImageFile image = open_image(file.path());
  CHECK(known_size(image.fd.get()) == 4096);
  file.resize(512);
  CHECK(known_size(image.fd.get()) == 512);
  CHECK(storage_size(image.fd.get()) == 512);
}
