// The FUSE server: what is in files and directories.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <set>

#include "devices/backends/share/fuse_server.h"
#include "tests/support/fuse_client.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;
namespace fs = std::filesystem;

namespace {

struct Fixture {
  Fixture() : server(SharedTree(place.path(), 4096, Ownership::of_process()), false) {
    guest.uid = ::geteuid();
    guest.gid = ::getegid();
    guest.init();
  }
  void put(const std::string& name, const std::string& text) const { std::ofstream(place(name)) << text; }
  std::string content(const std::string& name) const {
    std::ifstream file(place(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempDirectory place;
  FuseServer server;
  FuseClient guest{server};
};

// The names in an answer to FUSE_READDIR, and where the next one goes on.
struct Listing {
  std::set<std::string> names;
  uint64_t next = 0;
};
void take_entries(Listing& listing, const std::string& body, size_t prefix) {
  for (size_t at = 0; at + prefix + FUSE_NAME_OFFSET <= body.size();) {
    uint64_t offset = 0;
    uint32_t length = 0;
    std::memcpy(&offset, &body[at + prefix + offsetof(fuse_dirent, off)], sizeof offset);
    std::memcpy(&length, &body[at + prefix + offsetof(fuse_dirent, namelen)], sizeof length);
    listing.names.insert(body.substr(at + prefix + FUSE_NAME_OFFSET, length));
    listing.next = offset;
    at += FUSE_DIRENT_ALIGN(prefix + FUSE_NAME_OFFSET + length);
  }
}

}  // namespace

TEST_CASE("share: a file is read and written where it says, across buffers", "[share]") {
  Fixture f;
  f.put("file", "0123456789");
  const uint64_t file = f.guest.look_up("file");
  const uint64_t handle = f.guest.open(file, O_RDWR);
  CHECK(f.guest.read(file, handle, 3, 4) == "3456");
  CHECK(f.guest.read(file, handle, 8, 100) == "89");
  CHECK(f.guest.read(file, handle, 100, 100).empty());
  CHECK(f.guest.error == 0);
  CHECK(f.guest.write(file, handle, 8, "abcd") == 4);
  CHECK(f.content("file") == "01234567abcd");
}

TEST_CASE("share: a megabyte goes in one request", "[share]") {
  Fixture f;
  std::string data(FuseServer::kMaxTransfer, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 / 3);
  f.put("file", "");
  const uint64_t file = f.guest.look_up("file");
  const uint64_t handle = f.guest.open(file, O_RDWR);
  CHECK(f.guest.write(file, handle, 0, data) == data.size());
  CHECK(f.content("file") == data);
  CHECK(f.guest.read(file, handle, 0, FuseServer::kMaxTransfer) == data);
}

TEST_CASE("share: a write that appends does, wherever it says it is", "[share]") {
  Fixture f;
  f.put("file", "0123456789");
  const uint64_t file = f.guest.look_up("file");
  const uint64_t handle = f.guest.open(file, O_WRONLY | O_APPEND);
  f.guest.write(file, handle, 0, "end", O_APPEND);
  f.guest.write(file, handle, 0, "start");
  CHECK(f.content("file") == "start56789end");
}

TEST_CASE("share: a new file is there, open, and not made twice", "[share]") {
  Fixture f;
  const std::string made = f.guest.call(FUSE_CREATE, FUSE_ROOT_ID, 4096,
                                        fuse_create_in{.flags = O_RDWR | O_EXCL, .mode = 0640}, Text("new"));
  REQUIRE(made.size() == sizeof(fuse_entry_out) + sizeof(fuse_open_out));
  fuse_entry_out entry{};
  fuse_open_out open{};
  std::memcpy(&entry, made.data(), sizeof entry);
  std::memcpy(&open, made.data() + sizeof entry, sizeof open);
  CHECK((entry.attr.mode & 0700) == 0600);
  CHECK(f.guest.write(entry.nodeid, open.fh, 0, "text") == 4);
  CHECK(f.guest.tell(FUSE_CREATE, FUSE_ROOT_ID, fuse_create_in{.flags = O_RDWR | O_EXCL, .mode = 0640}, Text("new")) ==
        EEXIST);
  CHECK(f.guest.tell(FUSE_CREATE, FUSE_ROOT_ID, fuse_create_in{.flags = O_RDWR | O_TRUNC, .mode = 0640}, Text("new")) ==
        0);
  CHECK(f.content("new").empty());
}

TEST_CASE("share: handles end, and a number of one is never that of another", "[share]") {
  Fixture f;
  f.put("file", "text");
  const uint64_t file = f.guest.look_up("file");
  const uint64_t first = f.guest.open(file, O_RDONLY);
  CHECK(f.guest.tell(FUSE_RELEASE, file, fuse_release_in{.fh = first}) == 0);
  CHECK(f.guest.open(file, O_RDONLY) != first);
  f.guest.read(file, first, 0, 10);
  CHECK(f.guest.error == EBADF);
  CHECK(f.guest.tell(FUSE_RELEASE, file, fuse_release_in{.fh = first}) == 0);
  CHECK(f.guest.tell(FUSE_FSYNC, file, fuse_fsync_in{.fh = ~uint64_t{0}}) == EBADF);
}

TEST_CASE("share: the guest keeps what it read when the file has not changed since", "[share]") {
  Fixture f;
  f.put("file", "text");
  const uint64_t file = f.guest.look_up("file");
  const auto opened = [&] { return f.guest.ask<fuse_open_out>(FUSE_OPEN, file, fuse_open_in{}).open_flags; };
  CHECK(opened() == 0);
  CHECK(opened() == FOPEN_KEEP_CACHE);
  f.put("file", "longer text");
  CHECK(opened() == 0);
}

TEST_CASE("share: lengths and offsets that make no sense are refused", "[share]") {
  Fixture f;
  f.put("file", "text");
  const uint64_t file = f.guest.look_up("file");
  const uint64_t handle = f.guest.open(file, O_RDWR);
  CHECK(f.guest.tell(FUSE_WRITE, file, fuse_write_in{.fh = handle, .size = 5}, Raw{"four"}) == EINVAL);
  CHECK(f.guest.tell(FUSE_WRITE, file, fuse_write_in{.fh = handle, .size = ~0u}) == EINVAL);
  CHECK(f.guest.tell(FUSE_READ, file, fuse_read_in{.fh = handle, .offset = ~uint64_t{0}, .size = 10}) == EINVAL);
  CHECK(f.guest.call(FUSE_READ, file, 2, fuse_read_in{.fh = handle, .size = ~0u}) == "te");
  CHECK(f.guest.tell(FUSE_READ, file, Raw{"short"}) == EINVAL);
  CHECK(f.guest.tell(FUSE_LSEEK, file, fuse_lseek_in{.fh = handle, .whence = SEEK_SET}) == EINVAL);
  CHECK(f.guest.tell(FUSE_OPEN, file, fuse_open_in{.flags = O_ACCMODE}) == EINVAL);
  CHECK(f.guest.tell(FUSE_OPEN, FUSE_ROOT_ID, fuse_open_in{}) == EISDIR);
}

TEST_CASE("share: a directory is listed in as many answers as it takes", "[share]") {
  Fixture f;
  for (int i = 0; i < 300; ++i) f.put("a file whose number is " + std::to_string(i), "");
  const auto [opcode, prefix] =
      GENERATE(table<uint32_t, size_t>({{FUSE_READDIR, 0}, {FUSE_READDIRPLUS, sizeof(fuse_entry_out)}}));
  const auto handle = f.guest.ask<fuse_open_out>(FUSE_OPENDIR, FUSE_ROOT_ID, fuse_open_in{}).fh;
  Listing listing;
  int answers = 0;
  for (std::string body = "more"; !body.empty() && answers < 1000; ++answers) {
    body = f.guest.call(opcode, FUSE_ROOT_ID, 2000, fuse_read_in{.fh = handle, .offset = listing.next, .size = 2000});
    REQUIRE(f.guest.error == 0);
    take_entries(listing, body, prefix);
  }
  CHECK(answers > 5);
  CHECK(listing.names.size() == 302);
  CHECK(listing.names.contains("a file whose number is 299"));
}

TEST_CASE("share: a listing that has no room, or begins nowhere, is empty or refused", "[share]") {
  Fixture f;
  f.put("file", "");
  const auto handle = f.guest.ask<fuse_open_out>(FUSE_OPENDIR, FUSE_ROOT_ID, fuse_open_in{}).fh;
  CHECK(f.guest.call(FUSE_READDIR, FUSE_ROOT_ID, 10, fuse_read_in{.fh = handle, .size = 4096}).empty());
  CHECK(f.guest.error == 0);
  f.guest.call(FUSE_READDIRPLUS, FUSE_ROOT_ID, 4096, fuse_read_in{.fh = handle, .offset = ~uint64_t{0}, .size = 4096});
  CHECK(f.guest.truthful);
}

TEST_CASE("share: holes, ranges and copies", "[share]") {
  Fixture f;
  f.put("file", "text");
  f.put("copy", "");
  const uint64_t file = f.guest.look_up("file");
  const uint64_t handle = f.guest.open(file, O_RDWR);
  const uint64_t copy = f.guest.look_up("copy");
  const uint64_t to = f.guest.open(copy, O_RDWR);
  CHECK(f.guest.ask<fuse_lseek_out>(FUSE_LSEEK, file, fuse_lseek_in{.fh = handle, .whence = SEEK_HOLE}).offset == 4);
  CHECK(f.guest
            .ask<fuse_write_out>(
                FUSE_COPY_FILE_RANGE, file,
                fuse_copy_file_range_in{.fh_in = handle, .off_in = 1, .nodeid_out = copy, .fh_out = to, .len = 100})
            .size == 3);
  CHECK(f.content("copy") == "ext");
  CHECK(f.guest.tell(FUSE_FLUSH, file, fuse_flush_in{.fh = handle}) == 0);
  CHECK(f.guest.tell(FUSE_FSYNC, file, fuse_fsync_in{.fh = handle}) == 0);
}

TEST_CASE("fuse: a read or write of more than was announced moves no more than that", "[share][fuse]") {
  Fixture f;
  constexpr size_t kMost = FuseServer::kMaxTransfer;
  f.put("file", std::string(3 * kMost, 'r'));
  const uint64_t file = f.guest.look_up("file");
  const uint64_t handle = f.guest.open(file, O_RDWR);
  CHECK(f.guest.read(file, handle, 0, 2 * kMost).size() == kMost);
  CHECK(f.guest.write(file, handle, 0, std::string(2 * kMost, 'w')) == kMost);
}
