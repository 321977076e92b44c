// virtio-fs over the real FUSE server: half of the requests are near to what a driver would send, the rest come through
// rings without sense. Whatever is asked, a file beside the shared directory stays as it is, and is never found.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "devices/backends/share/fuse_server.h"
#include "devices/virtio/fs.h"
#include "tests/fuzz/fuzz_driver.h"

namespace vmm::test {
namespace {

// Made anew for each input, in memory where that is.
class Place {
 public:
  Place() {
    std::string pattern = std::filesystem::exists("/dev/shm") ? "/dev/shm/vmm-fuzz-XXXXXX" : "/tmp/vmm-fuzz-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
    std::filesystem::create_directories(path_ + "/shared/d/e");
    std::filesystem::create_symlink("../outside", path_ + "/shared/l");
    std::ofstream(path_ + "/shared/f") << "some content";
    std::ofstream(path_ + "/outside") << "outside";
    ::stat((path_ + "/outside").c_str(), &outside_);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string shared() const { return path_ + "/shared"; }
  void check() const {
    struct stat now {};
    require(::stat((path_ + "/outside").c_str(), &now) == 0);
    require(now.st_ino == outside_.st_ino && now.st_size == outside_.st_size && now.st_mode == outside_.st_mode &&
            now.st_uid == outside_.st_uid && now.st_nlink == 1);
  }

 private:
  std::string path_;
  struct stat outside_ {};
};

class InlineShare : public ShareBackend {
 public:
  explicit InlineShare(FuseServer& server) : server_(server) {}
  const std::string& tag() const override { return tag_; }
  std::string describe() const override { return tag_; }
  Task<size_t> answer(std::span<const iovec> request, std::span<const iovec> reply) override {
    co_return server_.answer(request, reply);
  }
  void reset() override { server_.reset(); }

 private:
  FuseServer& server_;
  std::string tag_ = "fuzz";
};

// A header that tells the truth about the length; numbers of files and handles that may exist.
void send_request(FuzzInput& input, FuseServer& server) {
  static constexpr uint32_t kOpcodes[] = {
      FUSE_LOOKUP,   FUSE_FORGET,      FUSE_GETATTR,   FUSE_SETATTR,    FUSE_READLINK,     FUSE_SYMLINK,
      FUSE_MKNOD,    FUSE_MKDIR,       FUSE_UNLINK,    FUSE_RMDIR,      FUSE_RENAME,       FUSE_LINK,
      FUSE_OPEN,     FUSE_READ,        FUSE_WRITE,     FUSE_STATFS,     FUSE_RELEASE,      FUSE_FSYNC,
      FUSE_FLUSH,    FUSE_INIT,        FUSE_OPENDIR,   FUSE_READDIR,    FUSE_RELEASEDIR,   FUSE_CREATE,
      FUSE_RENAME2,  FUSE_READDIRPLUS, FUSE_LSEEK,     FUSE_DESTROY,    FUSE_BATCH_FORGET, FUSE_COPY_FILE_RANGE,
      FUSE_SETXATTR, FUSE_GETXATTR,    FUSE_LISTXATTR, FUSE_REMOVEXATTR};
  static constexpr const char* kNames[] = {"d",          "e",   "f", "l",      "..",
                                           "../outside", "new", "",  "user.x", "security.capability"};
  fuse_in_header header{.opcode = kOpcodes[input.take_below(std::size(kOpcodes))],
                        .nodeid = input.take_below(6),
                        .uid = ::geteuid(),
                        .gid = ::getegid()};
  std::string body;
  const auto bytes = input.take_bytes(input.take_below(100));
  if (!bytes.empty()) body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // A handle that may be open.
  if (body.size() >= 8 && input.take_bool())
    body.replace(0, 8, std::string(1, static_cast<char>(input.take_below(6))) + std::string(7, '\0'));
  for (size_t names = input.take_below(3); names > 0; --names)
    body += kNames[input.take_below(std::size(kNames))] + std::string(1, '\0');
  header.len = static_cast<uint32_t>(sizeof header + body.size());
  std::string reply(16 + input.take_below(4096), '\0');
  const iovec in[] = {{&header, sizeof header}, {body.data(), body.size()}};
  const iovec out[] = {{reply.data(), reply.size()}};
  require(server.answer(in, out) <= reply.size());
}

void mount(FuseServer& server) {
  fuse_in_header header{.len = sizeof(fuse_in_header) + sizeof(fuse_init_in), .opcode = FUSE_INIT};
  fuse_init_in init{.major = 7, .minor = 31};
  const iovec in[] = {{&header, sizeof header}, {&init, sizeof init}};
  std::array<std::byte, sizeof(fuse_out_header) + sizeof(fuse_init_out)> reply{};
  const iovec out[] = {{reply.data(), reply.size()}};
  server.answer(in, out);
}

}  // namespace

void fuzz(FuzzInput& input) {
  const Place place;
  FakeDeviceHost host;
  FuseServer server(
      SharedTree(place.shared(), 64, Ownership{.as_is = false, .user = ::geteuid(), .group = ::getegid()}),
      input.take_bool());
  InlineShare share(server);
  FuzzDriver driver(input, host, std::make_unique<VirtioFs>(share));
  mount(server);
  while (input.next_step()) input.take_below(4) == 0 ? driver.step(input) : send_request(input, server);
  place.check();
}

}  // namespace vmm::test
