// A bounded read to the end of the file; see small_file.h.
#include "vmm/core/small_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

std::string read_small_file(const std::string& what, const std::string& path, const std::string& fix) {
  const auto refuse = [&](std::string_view why) {
    throw Error(fmt::format("cannot read {}{}'{}': {}", what, what.empty() ? "" : " ", path, why), fix);
  };
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) refuse(errno_text(errno));
  std::string text(kMostOfSmallFile + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(errno_text(errno));
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > kMostOfSmallFile) refuse(fmt::format("it is larger than {} MiB", kMostOfSmallFile >> 20));
  text.resize(size);
  return text;
}

}  // namespace vmm
