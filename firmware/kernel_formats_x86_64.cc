// The kernels of x86: bzImage, vmlinux with a PVH entry, Multiboot; and those in a compressed file. See
// kernel_format.h; the formats themselves are in bzimage.cc, elf_kernel.cc, pvh.cc and multiboot.cc.
#include <fmt/core.h>

#include <array>
#include <utility>

#include "firmware/bzimage.h"
#include "firmware/decompress.h"
#include "firmware/elf_kernel.h"
#include "firmware/foreign_file.h"
#include "firmware/kernel_format.h"
#include "firmware/kernel_payload.h"
#include "firmware/multiboot.h"
#include "firmware/pvh.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

std::string yes_no(bool value) { return value ? "yes" : "no"; }

Rows describe_entry(const KernelInfo& info) {
  return {{"entry point", fmt::format("{:#x} ({}-bit)", info.entry, info.entry64 ? 64 : 32)},
          {"64-bit entry", yes_no(info.entry64)}};
}

// What is seen only inside. That nothing can be seen there does not keep a kernel from booting.
void describe_inside(Rows& rows, const KernelFormat& kernel, const ByteSource& file) {
  const bool pvh = kernel.info().kind == KernelKind::kPvh;
  try {
    const KernelFacts facts = kernel.facts(file);
    if (pvh) rows.emplace_back("version", facts.release);
    rows.emplace_back("PVH entry", facts.pvh_entry ? fmt::format("{:#x}", *facts.pvh_entry) : "no");
    for (auto& row : describe_facts(facts)) rows.push_back(std::move(row));
  } catch (const Error& error) {
    rows.emplace_back("PVH entry", pvh ? "yes" : "unknown");
    rows.emplace_back("needs initrd", "unknown");
    rows.emplace_back("inside", error.what());
  }
}

class BzImageFormat final : public KernelFormat {
 public:
  explicit BzImageFormat(BzImage kernel) : kernel_(std::move(kernel)) {}
  const KernelInfo& info() const override { return kernel_.info; }
  KernelEntry load(const ByteSource& file, const BootRequest& request) const override {
    return load_bzimage(kernel_, file, request);
  }
  KernelFacts facts(const ByteSource& file) const override {
    const Bytes vmlinux = unpack_payload(kernel_, file);
    return facts_of_vmlinux(MemorySource(std::as_bytes(std::span(vmlinux))));
  }
  Rows describe(const ByteSource& file) const override {
    const KernelInfo& info = kernel_.info;
    Rows rows = {{"version", info.version},
                 {"boot protocol", fmt::format("{}.{:02}", info.protocol >> 8, info.protocol & 0xff)},
                 {"compression", info.compression.empty() ? "unknown" : info.compression},
                 {"relocatable", yes_no(info.relocatable)},
                 {"load address", fmt::format("{:#x}", info.pref_address)},
                 {"memory to start", fmt::format("{:.1f} MiB", static_cast<double>(info.init_size) / (1 << 20))}};
    for (auto& row : describe_entry(info)) rows.push_back(std::move(row));
    describe_inside(rows, *this, file);
    return rows;
  }

 private:
  BzImage kernel_;
};

class PvhFormat final : public KernelFormat {
 public:
  explicit PvhFormat(SegmentedKernel kernel) : kernel_(std::move(kernel)) {}
  const KernelInfo& info() const override { return kernel_.info; }
  KernelEntry load(const ByteSource& file, const BootRequest& request) const override {
    return load_pvh(kernel_, file, request);
  }
  KernelFacts facts(const ByteSource& file) const override { return facts_of_vmlinux(file); }
  Rows describe(const ByteSource& file) const override {
    Rows rows = describe_entry(kernel_.info);
    describe_inside(rows, *this, file);
    return rows;
  }

 private:
  SegmentedKernel kernel_;
};

class MultibootFormat final : public KernelFormat {
 public:
  explicit MultibootFormat(SegmentedKernel kernel) : kernel_(std::move(kernel)) {}
  const KernelInfo& info() const override { return kernel_.info; }
  KernelEntry load(const ByteSource& file, const BootRequest& request) const override {
    return load_multiboot(kernel_, file, request);
  }
  KernelFacts facts(const ByteSource&) const override { throw Error("it is no Linux kernel"); }
  Rows describe(const ByteSource&) const override {
    Rows rows = describe_entry(kernel_.info);
    rows.emplace_back("PVH entry", "no");
    return rows;
  }

 private:
  SegmentedKernel kernel_;
};

std::unique_ptr<const KernelFormat> elf_or_multiboot(SegmentedKernel kernel) {
  if (kernel.info.kind == KernelKind::kPvh) return std::make_unique<PvhFormat>(std::move(kernel));
  return std::make_unique<MultibootFormat>(std::move(kernel));
}

std::unique_ptr<const KernelFormat> recognise_plain(const ByteSource& file) {
  if (is_bzimage(file)) return std::make_unique<BzImageFormat>(parse_bzimage(file));
  if (is_elf(file)) return elf_or_multiboot(parse_elf_kernel(file));
  const auto multiboot = find_multiboot_header(file);
  if (multiboot && multiboot->header.has_addresses()) return elf_or_multiboot(parse_multiboot(*multiboot, file));
  throw refuse_foreign_file(file,
                            {.missing = "no 'HdrS' at 0x202, not ELF", .pass = "pass an x86-64 bzImage or vmlinux"});
}

// One that was compressed as a whole, as kernels other than Linux are shipped: xen.gz, gnumach.gz.
class CompressedFormat final : public KernelFormat {
 public:
  CompressedFormat(Bytes content, std::string_view compression)
      : content_(std::move(content)),
        source_(std::as_bytes(std::span(content_))),
        kernel_(recognise_plain(source_)),
        info_(kernel_->info()) {
    info_.summary = fmt::format("{}, {}", compression, info_.summary);
  }
  const KernelInfo& info() const override { return info_; }
  KernelEntry load(const ByteSource&, const BootRequest& request) const override {
    return kernel_->load(source_, request);
  }
  KernelFacts facts(const ByteSource&) const override { return kernel_->facts(source_); }
  Rows describe(const ByteSource&) const override { return kernel_->describe(source_); }

 private:
  const Bytes content_;
  const MemorySource source_;
  const std::unique_ptr<const KernelFormat> kernel_;
  KernelInfo info_;
};

}  // namespace

std::unique_ptr<const KernelFormat> recognise_kernel(const ByteSource& file) {
  constexpr size_t kLongestMagic = 8;
  const std::string_view compression = compression_of(file.read_text(0, kLongestMagic));
  if (compression.empty() || compression == "uncompressed") return recognise_plain(file);
  if (file.size() > kLargestKernel) throw Error(fmt::format("it is larger than {} MiB", kLargestKernel >> 20));
  Bytes packed(file.size());
  packed.resize(file.read_at(0, std::as_writable_bytes(std::span(packed))));
  try {
    return std::make_unique<CompressedFormat>(decompress_stream(packed, kLargestKernel), compression);
  } catch (const Error& error) {
    throw Error(fmt::format("inside the {} file: {}", compression, error.what()), error.fix());
  }
}

std::span<const std::string_view> usual_kernels() {
  static constexpr std::array<std::string_view, 2> kPlaces{"bzImage", "arch/x86/boot/bzImage"};
  return kPlaces;
}

}  // namespace vmm
