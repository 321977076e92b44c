// Opening, recognising and describing kernels; see kernel_file.h. The formats themselves are in bzimage.cc,
// elf_kernel.cc, multiboot.cc and pvh.cc.
#include "firmware/kernel_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "firmware/elf_kernel.h"
#include "firmware/foreign_file.h"
#include "firmware/multiboot.h"
#include "firmware/pvh.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

using Kernel = std::variant<BzImage, SegmentedKernel>;

Kernel recognise(const ByteSource& file) {
  if (is_bzimage(file)) return parse_bzimage(file);
  if (is_elf(file)) return parse_elf_kernel(file);
  const auto multiboot = find_multiboot_header(file);
  if (multiboot && multiboot->header.has_addresses()) return parse_multiboot(*multiboot, file);
  throw refuse_foreign_file(file);
}

UniqueFd open_kernel(const std::string& path) {
  constexpr const char* kUsualPlace = "arch/x86/boot/bzImage";
  // A FIFO without a writer would block; O_NONBLOCK means nothing for the regular file that we want.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd) return fd;
  const int error = errno;
  const bool built_here = error == ENOENT && ::access(kUsualPlace, R_OK) == 0;
  throw Error(fmt::format("cannot open kernel '{}': {}", path, errno_text(error)),
              built_here ? fmt::format("did you mean {}?", kUsualPlace) : std::string());
}

using Rows = std::vector<std::pair<std::string, std::string>>;

std::string yes_no(bool value) { return value ? "yes" : "no"; }

// What is seen only inside. That nothing can be seen there does not keep a kernel from booting.
void describe_inside(Rows& rows, const KernelFile& kernel) {
  const bool pvh = kernel.info().kind == KernelKind::kPvh;
  try {
    const KernelFacts facts = kernel.facts();
    if (pvh) rows.emplace_back("version", facts.release);
    rows.emplace_back("PVH entry", facts.pvh_entry ? fmt::format("{:#x}", *facts.pvh_entry) : "no");
    rows.emplace_back("built in",
                      fmt::format("{} ({})",
                                  facts.built_in.empty() ? "no driver or file system for a root disk"
                                                         : fmt::format("{}", fmt::join(facts.built_in, ", ")),
                                  facts.from_config ? "by its configuration" : "by names in it"));
    rows.emplace_back("needs initrd", needs_initrd(facts));
  } catch (const Error& error) {
    rows.emplace_back("PVH entry", pvh ? "yes" : "unknown");
    rows.emplace_back("needs initrd", "unknown");
    rows.emplace_back("inside", error.what());
  }
}

}  // namespace

KernelFile::KernelFile(std::string name, UniqueFd fd, std::unique_ptr<ByteSource> source)
    : name_(std::move(name)), fd_(std::move(fd)), source_(std::move(source)) {
  try {
    kernel_ = recognise(*source_);
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

const KernelInfo& KernelFile::info() const {
  return std::visit([](const auto& kernel) -> const KernelInfo& { return kernel.info; }, kernel_);
}

KernelFacts KernelFile::facts() const {
  const auto* bzimage = std::get_if<BzImage>(&kernel_);
  if (bzimage == nullptr && info().kind != KernelKind::kPvh) throw Error("it is no Linux kernel");
  if (bzimage == nullptr) return facts_of_vmlinux(*source_);
  const Bytes vmlinux = unpack_payload(*bzimage, *source_);
  return facts_of_vmlinux(MemorySource(std::as_bytes(std::span(vmlinux))));
}

CpuEntry KernelFile::load(const GuestMemory& memory, const Platform& platform, const UniqueFd* initrd) const {
  if (initrd == nullptr || !*initrd) return load_with(memory, platform, nullptr);
  const FileSource source(initrd->get(), "initrd");
  return load_with(memory, platform, &source);
}

CpuEntry KernelFile::load_with(const GuestMemory& memory, const Platform& platform, const ByteSource* initrd) const {
  const BootRequest request{memory, platform, initrd, name_};
  try {
    if (initrd != nullptr && initrd->size() == 0) throw Error("the initrd is empty");
    if (const auto* bzimage = std::get_if<BzImage>(&kernel_)) return load_bzimage(*bzimage, *source_, request);
    const auto& segmented = std::get<SegmentedKernel>(kernel_);
    return segmented.info.kind == KernelKind::kPvh ? load_pvh(segmented, *source_, request)
                                                   : load_multiboot(segmented, *source_, request);
  } catch (const Error& error) {
    throw Error(fmt::format("cannot boot '{}': {}", name_, error.what()), error.fix());
  }
}

Rows describe(const KernelFile& kernel) {
  const KernelInfo& info = kernel.info();
  Rows rows = {{"kind", std::string(kernel_kind_name(info.kind))}, {"summary", info.summary}};
  if (info.kind == KernelKind::kBzImage) {
    rows.emplace_back("version", info.version);
    rows.emplace_back("boot protocol", fmt::format("{}.{:02}", info.protocol >> 8, info.protocol & 0xff));
    rows.emplace_back("compression", info.compression.empty() ? "unknown" : info.compression);
    rows.emplace_back("relocatable", yes_no(info.relocatable));
    rows.emplace_back("load address", fmt::format("{:#x}", info.pref_address));
    rows.emplace_back("memory to start", fmt::format("{:.1f} MiB", static_cast<double>(info.init_size) / (1 << 20)));
  }
  rows.emplace_back("entry point", fmt::format("{:#x} ({}-bit)", info.entry, info.entry64 ? 64 : 32));
  rows.emplace_back("64-bit entry", yes_no(info.entry64));
  if (info.kind == KernelKind::kMultiboot) {
    rows.emplace_back("PVH entry", "no");
  } else {
    describe_inside(rows, kernel);
  }
  rows.emplace_back("command line", fmt::format("at most {} bytes", info.command_line_limit));
  for (const std::string& warning : info.warnings) rows.emplace_back("warning", warning);
  return rows;
}

}  // namespace vmm
