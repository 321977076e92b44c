// Both engines, by the same tests.
#include "devices/backends/disk/io_engine.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <functional>
#include <utility>
#include <vector>

#include "devices/backends/iovecs.h"
#include "tests/support/deadline.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

using Kind = IoEngine::Kind;

Task<ssize_t> await(IoEngine::Operation operation) { co_return co_await operation; }
Task<void> count(IoEngine::Operation operation, int& ended) {
  co_await operation;
  ++ended;
}

struct Fixture {
  explicit Fixture(Kind kind) : engine(IoEngine::create(loop, kind)), fd(::open(disk.path().c_str(), O_RDWR)) {
    file = engine->add_file(fd.get());
  }
  ~Fixture() {
    engine->drain();
    engine->remove_file(file);
  }
  ssize_t run(const IoEngine::Operation& operation) { return run_task(loop, await(operation)); }

  EventLoop loop;
  TempFile disk{1 << 20};
  std::unique_ptr<IoEngine> engine;
  UniqueFd fd;
  int file = -1;
};

// From now on io_uring_setup(2) answers EPERM, as under the seccomp filter of a container.
void forbid_io_uring() {
  std::array<sock_filter, 4> code{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  const sock_fprog program{code.size(), code.data()};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

// Asks a question in a process of its own, which may be ruined by it.
std::string in_child(bool (*question)()) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(question() ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status)) return "crashed";
  return WEXITSTATUS(status) == 0 ? "yes" : "no";
}

// A page that is missing until answer(): who touches it hangs, as on storage that does not answer.
class UnansweredMemory {
 public:
  UnansweredMemory() {
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register range{.range = {reinterpret_cast<uintptr_t>(page_), kPage}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    REQUIRE(::ioctl(fd_.get(), UFFDIO_API, &api) == 0);
    REQUIRE(::ioctl(fd_.get(), UFFDIO_REGISTER, &range) == 0);
  }
  ~UnansweredMemory() { ::munmap(page_, kPage); }

  // The host may keep this for root.
  static bool available() { return static_cast<bool>(open()); }

  void* data() const { return page_; }
  void answer() { fd_ = UniqueFd(); }

 private:
  static constexpr size_t kPage = 4096;
  static UniqueFd open() { return UniqueFd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC))); }
  UniqueFd fd_ = open();
  void* page_ = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
};

}  // namespace

TEST_CASE("io engine: what is written is read back, across buffers", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  std::string text = "hello world";
  const std::array<iovec, 2> from{iovec{text.data(), 6}, iovec{text.data() + 6, 5}};
  CHECK(f.run(f.engine->write(f.file, 4096, from)) == 11);
  CHECK(f.disk.read(4096, 11) == "hello world");
  std::string back(11, '?');
  const iovec to{back.data(), back.size()};
  CHECK(f.run(f.engine->read(f.file, 4096, {&to, 1})) == 11);
  CHECK(back == "hello world");
}

TEST_CASE("io engine: a read across the end is short, and past it empty", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  std::string back(4096, '?');
  const iovec to{back.data(), back.size()};
  CHECK(f.run(f.engine->read(f.file, (1 << 20) - 100, {&to, 1})) == 100);
  CHECK(f.run(f.engine->read(f.file, 1 << 20, {&to, 1})) == 0);
}

TEST_CASE("io engine: data is synced and space allocated and freed", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  CHECK(f.run(f.engine->allocate(f.file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20)) == 0);
  CHECK(f.run(f.engine->sync_data(f.file)) == 0);
  CHECK(f.disk.allocated() >= 1 << 20);
  CHECK(f.run(f.engine->allocate(f.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20)) == 0);
  CHECK(f.disk.allocated() == 0);
}

TEST_CASE("io engine: errors are negative errno values", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  CHECK(f.run(f.engine->allocate(f.file, FALLOC_FL_PUNCH_HOLE, 0, 4096)) == -EOPNOTSUPP);
  const UniqueFd read_only(::open(f.disk.path().c_str(), O_RDONLY));
  const int file = f.engine->add_file(read_only.get());
  char byte = 'x';
  const iovec from{&byte, 1};
  CHECK(f.run(f.engine->write(file, 0, {&from, 1})) == -EBADF);
  f.engine->remove_file(file);
}

TEST_CASE("io engine: a file size limit is an error and no signal", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  const FileSizeLimit limit(2 << 20);
  std::string text(8192, 'x');
  const iovec from{text.data(), text.size()};
  CHECK(f.run(f.engine->write(f.file, (2 << 20) - 4096, {&from, 1})) == 4096);
  CHECK(f.run(f.engine->write(f.file, 2 << 20, {&from, 1})) == -EFBIG);
}

TEST_CASE("io engine: more requests than it takes at once are all answered", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  std::string back(512, '?');
  const iovec to{back.data(), back.size()};
  int ended = 0;
  for (int i = 0; i < 3000; ++i) f.loop.spawn(count(f.engine->read(f.file, 0, {&to, 1}), ended));
  f.engine->drain();
  CHECK(ended == 3000);
}

TEST_CASE("io engine: an idle engine is drained at once, and goes on", "[backends][io-engine]") {
  const Deadline deadline(std::chrono::seconds(30));
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  char byte = 0;
  const iovec to{&byte, 1};
  int ended = 0;
  f.engine->drain();
  f.loop.spawn(count(f.engine->read(f.file, 0, {&to, 1}), ended));
  f.engine->drain();
  f.engine->drain();
  CHECK(ended == 1);
}

TEST_CASE("io engine: nothing completes within the call that starts it", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  char byte = 0;
  const iovec to{&byte, 1};
  int ended = 0;
  f.loop.spawn(count(f.engine->read(f.file, 0, {&to, 1}), ended));
  CHECK(ended == 0);
  f.engine->drain();
  CHECK(ended == 1);
}

TEST_CASE("io engine: a file's place can be used again", "[backends][io-engine]") {
  Fixture f(GENERATE(Kind::kIoUring, Kind::kThreads));
  const UniqueFd other(::open(f.disk.path().c_str(), O_RDONLY));
  for (int i = 0; i < 600; ++i) f.engine->remove_file(f.engine->add_file(other.get()));
  CHECK(f.run(f.engine->sync_data(f.file)) == 0);
}

TEST_CASE("io engine: a file whose requests hang does not stop another", "[backends][io-engine]") {
  if (!UnansweredMemory::available()) {
    WARN("skipped: userfaultfd(2) is not permitted");
    return;
  }
  Fixture f(Kind::kThreads);
  const UniqueFd other(::open(f.disk.path().c_str(), O_RDONLY));
  const int hanging = f.engine->add_file(other.get());
  UnansweredMemory memory;
  const iovec to{memory.data(), 1};
  int ended = 0;
  for (int i = 0; i < 100; ++i) f.loop.spawn(count(f.engine->read(hanging, 0, {&to, 1}), ended));
  CHECK(f.run(f.engine->sync_data(f.file)) == 0);
  CHECK(ended == 0);
  memory.answer();
  f.engine->drain();
  CHECK(ended == 100);
  f.engine->remove_file(hanging);
}

TEST_CASE("io engine: automatic is io_uring where the host has it", "[backends][io-engine]") {
  Fixture f(Kind::kAuto);
  CHECK(f.engine->name() == std::string("io_uring"));
}

TEST_CASE("io engine: automatic falls back to threads where io_uring is forbidden", "[backends][io-engine]") {
  CHECK(in_child([] {
          forbid_io_uring();
          EventLoop loop;
          return IoEngine::create(loop, Kind::kAuto)->name() == std::string("threads");
        }) == "yes");
}

TEST_CASE("io engine: io_uring by name fails where it is forbidden", "[backends][io-engine]") {
  CHECK(in_child([] {
          forbid_io_uring();
          EventLoop loop;
          try {
            IoEngine::create(loop, Kind::kIoUring);
          } catch (const Error&) {
            return true;
          }
          return false;
        }) == "yes");
}

TEST_CASE("io engine: a turn of the loop has so much to copy and no more, and nothing is left behind",
          "[backends][io-engine]") {
  Fixture f(Kind::kIoUring);
  constexpr int kReads = 64;
  std::vector<char> buffer(1 << 20);
  const iovec to{buffer.data(), buffer.size()};
  std::fill(buffer.begin(), buffer.end(), 'x');
  REQUIRE(f.run(f.engine->write(f.file, 0, {&to, 1})) == 1 << 20);  // into the page cache, where reads find it
  int ended = 0, before = 0, most = 0;
  for (int i = 0; i < kReads; ++i) f.loop.spawn(count(f.engine->read(f.file, 0, {&to, 1}), ended));
  const std::function<void()> look = [&] {
    most = std::max(most, ended - std::exchange(before, ended));
    ended < kReads ? f.loop.post(look) : f.loop.stop();
  };
  f.loop.post(look);
  f.loop.run();
  CHECK(most <= 8);
}
