// The thread that writes; see core_dump.h.
#include "vmm/control/session/core_dump.h"

#include <fmt/core.h>
#include <pthread.h>

#include <exception>
#include <system_error>
#include <utility>

#include "vmm/blackbox/black_box.h"
#include "vmm/blackbox/vmcore_writer.h"
#include "vmm/control/verdict/result.h"

namespace vmm {

std::string how_to_open(const std::string& path) {
  const std::string word = shell_line({path});
  if (is_compressed_name(path)) {
    const std::string plain = path.substr(0, path.rfind('.'));
    return fmt::format("{} (open: zstd -d {}; drgn -c {} -s vmlinux)", path, word, shell_line({plain}));
  }
  return fmt::format("{} (open: drgn -c {} -s vmlinux)", path, word);
}

CoreDump::CoreDump(EventLoop& loop, std::string path, const GuestMemory& memory, std::span<const CpuState> cpus,
                   std::function<void(const std::optional<Error>&)> on_end)
    : loop_(loop),
      path_(std::move(path)),
      cpus_(cpus.begin(), cpus.end()),
      on_end_(std::move(on_end)),
      self_(std::make_shared<CoreDump*>(this)) {
  check_vmcore_path(path_);
  try {
    thread_ = std::thread([this, &memory] { write(memory); });
  } catch (const std::system_error& error) {
    throw Error(fmt::format("cannot start a thread for vmcore '{}': {}", path_, errno_text(error.code().value())),
                "raise ulimit -u");
  }
}

CoreDump::~CoreDump() {
  give_up_ = true;
  if (thread_.joinable()) thread_.join();
}

void CoreDump::write(const GuestMemory& memory) {
  ::pthread_setname_np(::pthread_self(), "vmcore");
  std::optional<Error> trouble;
  try {
    const BlackBox box(memory, cpus_);
    std::vector<std::optional<uint32_t>> pids;
    for (const CpuState& cpu : cpus_) pids.push_back(box.pid_on(cpu));
    write_vmcore(path_,
                 {.memory = memory,
                  .cpus = cpus_,
                  .pids = pids,
                  .vmcoreinfo = box.vmcoreinfo(),
                  .direct_map = box.direct_map(),
                  .image = box.image()},
                 give_up_);
  } catch (const Error& error) {
    trouble = error;
  } catch (const std::exception& error) {
    trouble = Error(fmt::format("cannot write vmcore '{}': {}", path_, error.what()));
  }
  loop_.post([weak = std::weak_ptr(self_), trouble] {
    const auto self = weak.lock();
    // Taken out, as it may destroy us.
    if (self) std::exchange((*self)->on_end_, nullptr)(trouble);
  });
}

}  // namespace vmm
