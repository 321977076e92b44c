// A shared directory whose file systems come and go on the host.
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "devices/backends/share/fuse_server.h"
#include "tests/support/fuse_client.h"
#include "tests/support/own_mounts.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// A file system of the host that consists of one directory, until its server goes: as sshfs does that loses its peer.
class LostMount {
 public:
  explicit LostMount(const std::string& place) : place_(place), fuse_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    const std::string options = "fd=" + std::to_string(fuse_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    mounted_ = fuse_ && ::mount("lost", place_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
    if (mounted_) server_ = std::thread([this] { serve(); });
  }
  LostMount(const LostMount&) = delete;
  LostMount& operator=(const LostMount&) = delete;
  ~LostMount() { lose(); }
  bool mounted() const { return mounted_; }
  void lose() {
    if (!server_.joinable()) return;
    ::umount2(place_.c_str(), MNT_FORCE | MNT_DETACH);
    server_.join();
  }

 private:
  template <typename T>
  static void put(std::string& body, const T& value) {
    body.assign(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void serve() const {
    std::string request(1 << 16, '\0');
    while (::read(fuse_.get(), request.data(), request.size()) > 0) {
      fuse_in_header asked{};
      std::memcpy(&asked, request.data(), sizeof asked);
      fuse_out_header header{};
      std::string body;
      if (asked.opcode == FUSE_INIT)
        put(body, fuse_init_out{.major = 7, .minor = 31, .max_write = 4096});
      else if (asked.opcode == FUSE_GETATTR)
        put(body, fuse_attr_out{.attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2}});
      else if (asked.opcode == FUSE_OPENDIR)
        put(body, fuse_open_out{});
      else if (asked.opcode == FUSE_STATFS)
        put(body, fuse_statfs_out{});
      else
        header.error = -ENOSYS;
      header.unique = asked.unique;
      header.len = static_cast<uint32_t>(sizeof header + body.size());
      body.insert(0, reinterpret_cast<const char*>(&header), sizeof header);
      if (::write(fuse_.get(), body.data(), body.size()) < 0) return;
    }
  }

  std::string place_;
  UniqueFd fuse_;
  bool mounted_ = false;
  std::thread server_;
};

}  // namespace

TEST_CASE("share: one whose file system has gone is stale until it is back", "[share]") {
  const TempDirectory place;
  int gone = 0, back = -1;
  const bool done = with_own_mounts([&] {
    LostMount mount(place.path());
    if (!mount.mounted()) return false;
    FuseServer server(SharedTree(place.path(), 64, Ownership::of_process()), false);
    mount.lose();
    server.reset();  // as a guest's driver has it
    FuseClient guest(server);
    guest.init();
    gone = guest.tell(FUSE_GETATTR, FUSE_ROOT_ID, fuse_getattr_in{});
    const LostMount again(place.path());
    back = again.mounted() ? guest.tell(FUSE_GETATTR, FUSE_ROOT_ID, fuse_getattr_in{}) : -1;
    return true;
  });
  if (!done) {
    WARN("skipped: mounting needs root, and /dev/fuse");
    return;
  }
  CHECK(gone == ESTALE);
  CHECK(back == 0);
}

TEST_CASE("share: a file system of the host kernel's with the number of one that went is empty", "[share][escape]") {
  const TempDirectory place;
  const std::string inner = place("inner");
  std::filesystem::create_directory(inner);
  dev_t before = 0, after = 0;
  int found = 0;
  size_t listed = 1;
  const bool done = with_own_mounts([&] {
    struct stat status {};
    if (::mount("first", inner.c_str(), "tmpfs", 0, "") != 0) return false;
    FuseServer server(SharedTree(place.path(), 64, Ownership::of_process()), false);
    FuseClient guest(server);
    guest.init();
    ::stat(inner.c_str(), &status);
    before = status.st_dev;
    guest.tell(FUSE_FORGET, guest.look_up("inner"), fuse_forget_in{.nlookup = 1});
    if (::umount(inner.c_str()) != 0 || ::mount("second", inner.c_str(), "proc", 0, "") != 0) return false;
    ::stat(inner.c_str(), &status);
    after = status.st_dev;
    const uint64_t node = guest.look_up("inner");
    found = guest.tell(FUSE_LOOKUP, node, Text("self"));
    const auto handle = guest.ask<fuse_open_out>(FUSE_OPENDIR, node, fuse_open_in{}).fh;
    listed = guest.call(FUSE_READDIR, node, 4096, fuse_read_in{.fh = handle, .size = 4096}).size();
    return true;
  });
  if (!done) {
    WARN("skipped: mounting needs root");
    return;
  }
  CAPTURE(before, after);
  CHECK(found == ENOENT);
  CHECK(listed == 0);
}
