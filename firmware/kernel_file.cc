// Opening and describing kernels; see kernel_file.h. The formats are in kernel_formats_ARCH.cc.
#include "firmware/kernel_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "vmm/core/check.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

UniqueFd open_kernel(const std::string& path) {
  const std::string usual(usual_kernels().back());
  // A FIFO without a writer would block; O_NONBLOCK means nothing for the regular file that we want.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd) return fd;
  const int error = errno;
  const bool built_here = error == ENOENT && ::access(usual.c_str(), R_OK) == 0;
  throw Error(fmt::format("cannot open kernel '{}': {}", path, errno_text(error)),
              built_here ? fmt::format("did you mean {}?", usual) : "pass a kernel that can be read");
}

}  // namespace

KernelFile::KernelFile(std::string name, UniqueFd fd, std::unique_ptr<ByteSource> source)
    : name_(std::move(name)), fd_(std::move(fd)), source_(std::move(source)) {
  try {
    format_ = recognise_kernel(*source_);
  } catch (const Error& error) {
    throw Error(fmt::format("'{}' is not a bootable kernel: {}", name_, error.what()), error.fix());
  }
}

KernelFile KernelFile::open(const std::string& path) {
  UniqueFd fd = open_kernel(path);
  auto source = std::make_unique<FileSource>(fd.get(), path);
  return {path, std::move(fd), std::move(source)};
}

KernelFile KernelFile::from_bytes(std::span<const std::byte> bytes, std::string name) {
  return {std::move(name), UniqueFd(), std::make_unique<MemorySource>(bytes)};
}

KernelEntry KernelFile::load(const GuestMemory& memory, const Platform& platform,
                             std::span<const BootFile> files) const {
  std::vector<FileSource> sources;
  for (const BootFile& file : files) sources.emplace_back(file.fd.get(), file.text);
  std::vector<BootModule> modules;
  for (size_t i = 0; i < files.size(); ++i) modules.push_back({&sources[i], files[i].text});
  return load_with(memory, platform, modules);
}

KernelEntry KernelFile::load_with(const GuestMemory& memory, const Platform& platform,
                                  std::span<const BootModule> modules) const {
  const BootRequest request{memory, platform, modules, name_};
  try {
    for (const BootModule& module : modules) {
      if (module.source->size() == 0) throw Error(fmt::format("the initrd '{}' is empty", module.text));
    }
    return format_->load(*source_, request);
  } catch (const Error& error) {
    throw Error(fmt::format("cannot boot '{}': {}", name_, error.what()), error.fix());
  }
}

std::string_view kernel_kind_name(KernelKind kind) {
  switch (kind) {
    case KernelKind::kBzImage:
      return "bzImage";
    case KernelKind::kPvh:
      return "PVH kernel";
    case KernelKind::kMultiboot:
      return "Multiboot kernel";
    case KernelKind::kArm64Image:
      return "arm64 Image";
  }
  UNREACHABLE();
}

Rows KernelFile::describe() const {
  Rows rows = {{"kind", std::string(kernel_kind_name(info().kind))}, {"summary", info().summary}};
  for (auto& row : format_->describe(*source_)) rows.push_back(std::move(row));
  rows.emplace_back("command line", fmt::format("at most {} bytes", info().command_line_limit));
  for (const std::string& warning : info().warnings) rows.emplace_back("warning", warning);
  return rows;
}

}  // namespace vmm
