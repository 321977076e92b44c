// Who may use an image beside whom. Locks belong to open files, so that two in one process
// exclude each other as two processes do.
#include "devices/backends/disk/image_lock.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <memory>
#include <optional>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

using Access = ImageLock::Access;

struct Fixture {
  ImageLock lock(Access access) const { return ImageLock(file.path(), fd.get(), access); }

  TempFile file{4096};
  UniqueFd fd{::open(file.path().c_str(), O_RDWR | O_CLOEXEC)};
};

// A process that locks the image, says so, and goes on until the end of the test.
class OtherProcess {
 public:
  OtherProcess(const Fixture& f, Access access) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_ = ::fork();
    if (pid_ == 0) hold(f, access, ready[1]);
    ::close(ready[1]);
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    ::close(ready[0]);
  }
  ~OtherProcess() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  [[noreturn]] static void hold(const Fixture& f, Access access, int ready) {
    const ImageLock lock = f.lock(access);
    if (::write(ready, "x", 1) == 1) ::pause();
    ::_exit(1);
  }
  pid_t pid_ = 0;
};

struct flock byte_lock(short type, off_t byte) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

}  // namespace

TEST_CASE("image lock: a second writer is refused", "[backends][image-lock]") {
  const Fixture f;
  const ImageLock first = f.lock(Access::kWrite);
  CHECK_THROWS_AS(f.lock(Access::kWrite), Error);
}

TEST_CASE("image lock: a reader beside a writer is refused, and the reverse", "[backends][image-lock]") {
  const Fixture f;
  const Access first = GENERATE(Access::kRead, Access::kWrite);
  const ImageLock held = f.lock(first);
  CHECK_THROWS_AS(f.lock(first == Access::kRead ? Access::kWrite : Access::kRead), Error);
}

TEST_CASE("image lock: readers share", "[backends][image-lock]") {
  const Fixture f;
  const ImageLock first = f.lock(Access::kRead);
  CHECK_NOTHROW(f.lock(Access::kRead));
}

TEST_CASE("image lock: it ends with its holder", "[backends][image-lock]") {
  const Fixture f;
  std::optional<ImageLock> first = f.lock(Access::kWrite);
  first.reset();
  CHECK_NOTHROW(f.lock(Access::kWrite));
}

TEST_CASE("image lock: a refused attempt leaves nothing locked", "[backends][image-lock]") {
  const Fixture f;
  std::optional<ImageLock> reader = f.lock(Access::kRead);
  CHECK_THROWS_AS(f.lock(Access::kWrite), Error);
  CHECK_NOTHROW(f.lock(Access::kRead));
  reader.reset();
  CHECK_NOTHROW(f.lock(Access::kWrite));
}

TEST_CASE("image lock: one disk given twice to a machine is called that", "[backends][image-lock]") {
  const Fixture f;
  const ImageLock first = f.lock(Access::kWrite);
  CHECK_THROWS_WITH(f.lock(Access::kWrite), Contains("given twice"));
}

TEST_CASE("image lock: another process is named by its number", "[backends][image-lock]") {
  const Fixture f;
  const OtherProcess other(f, Access::kWrite);
  CHECK_THROWS_WITH(f.lock(Access::kWrite), Contains("in use by pid " + std::to_string(other.pid())));
}

TEST_CASE("image lock: who only wants to read is not told to", "[backends][image-lock]") {
  const Fixture f;
  const OtherProcess writer(f, Access::kWrite);
  try {
    f.lock(Access::kRead);
    FAIL("it was let in");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), Contains("is written by pid " + std::to_string(writer.pid())));
    CHECK_THAT(error.fix(), Contains("stop that one, or have it use ,ephemeral") && !Contains("add"));
  }
}

TEST_CASE("image lock: a killed process leaves nothing locked", "[backends][image-lock]") {
  const Fixture f;
  OtherProcess other(f, Access::kWrite);
  other.kill();
  CHECK_NOTHROW(f.lock(Access::kWrite));
}

TEST_CASE("image lock: the bytes are QEMU's", "[backends][image-lock]") {
  const Fixture f;
  const ImageLock ours = f.lock(Access::kWrite);
  const UniqueFd qemu(::open(f.file.path().c_str(), O_RDWR | O_CLOEXEC));
  const off_t byte = GENERATE(100, 101, 201, 203);
  struct flock lock = byte_lock(F_WRLCK, byte);
  REQUIRE(::fcntl(qemu.get(), F_OFD_GETLK, &lock) == 0);
  CHECK(lock.l_type == F_RDLCK);
}

TEST_CASE("image lock: QEMU writing keeps us out, reading lets us read", "[backends][image-lock]") {
  const Fixture f;
  const UniqueFd qemu(::open(f.file.path().c_str(), O_RDWR | O_CLOEXEC));
  struct flock reads = byte_lock(F_RDLCK, 100);
  REQUIRE(::fcntl(qemu.get(), F_OFD_SETLK, &reads) == 0);
  CHECK_NOTHROW(f.lock(Access::kRead));
  struct flock writes = byte_lock(F_RDLCK, 101);
  REQUIRE(::fcntl(qemu.get(), F_OFD_SETLK, &writes) == 0);
  CHECK_THROWS_AS(f.lock(Access::kRead), Error);
}

TEST_CASE("image lock: a file that was replaced meanwhile is noticed", "[backends][image-lock]") {
  const Fixture f;
  const TempFile other(4096);
  CHECK_THROWS_WITH(ImageLock(other.path(), f.fd.get(), Access::kRead), Contains("replaced"));
}
