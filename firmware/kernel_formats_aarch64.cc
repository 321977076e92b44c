// The kernels of aarch64: Image, in each of its wrappings. See kernel_format.h; the format itself is in arm64_image.cc.
#include <fmt/core.h>

#include <array>
#include <utility>

#include "firmware/arm64_image.h"
#include "firmware/foreign_file.h"
#include "firmware/kernel_format.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

class ImageFormat final : public KernelFormat {
 public:
  explicit ImageFormat(Arm64Image image) : image_(std::move(image)) {}
  const KernelInfo& info() const override { return image_.info; }
  KernelEntry load(const ByteSource& file, const BootRequest& request) const override {
    return load_arm64_image(image_, file, request);
  }
  KernelFacts facts(const ByteSource& file) const override { return facts_of_arm64_image(image_, file); }
  Rows describe(const ByteSource& file) const override {
    Rows rows = {{"version", image_.info.version},
                 {"compression", image_.info.compression.empty() ? "none" : image_.info.compression},
                 {"page size", image_.page_size == 0 ? "unknown" : fmt::format("{} KiB", image_.page_size)},
                 {"text offset", fmt::format("{:#x}", image_.text_offset)},
                 {"memory to start", fmt::format("{:.1f} MiB", static_cast<double>(image_.image_size) / (1 << 20))}};
    try {
      for (auto& row : describe_facts(facts(file))) rows.push_back(std::move(row));
    } catch (const Error& error) {
      rows.emplace_back("inside", error.what());
    }
    return rows;
  }

 private:
  Arm64Image image_;
};

}  // namespace

std::unique_ptr<const KernelFormat> recognise_kernel(const ByteSource& file) {
  if (may_be_arm64_image(file)) return std::make_unique<ImageFormat>(parse_arm64_image(file));
  throw refuse_foreign_file(file, {.missing = "no 'ARM\\x64' at 56", .pass = "pass an arm64 Image or Image.gz"});
}

std::span<const std::string_view> usual_kernels() {
  static constexpr std::array<std::string_view, 2> kPlaces{"Image", "arch/arm64/boot/Image"};
  return kPlaces;
}

}  // namespace vmm
