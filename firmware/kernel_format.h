// KernelFormat: a kernel file that was recognised, in the form that KernelFile handles all of them. Which formats there
// are is a matter of the architecture: kernel_formats_ARCH.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "firmware/boot.h"
#include "firmware/boot_setup.h"
#include "firmware/byte_source.h"
#include "firmware/kernel_payload.h"

namespace vmm {

// A label and its value in each.
using Rows = std::vector<std::pair<std::string, std::string>>;

class KernelFormat {
 public:
  virtual ~KernelFormat() = default;
  virtual const KernelInfo& info() const = 0;
  // `file` is always the one that was recognised. Both throw Error.
  virtual KernelEntry load(const ByteSource& file, const BootRequest& request) const = 0;
  virtual KernelFacts facts(const ByteSource& file) const = 0;
  // What is to be said of this format alone.
  virtual Rows describe(const ByteSource& file) const = 0;
};

// Throws Error that says what the file is instead, and what to pass.
std::unique_ptr<const KernelFormat> recognise_kernel(const ByteSource& file);

// Where kernels are when nobody says, from a folder or from the top of a kernel tree.
std::span<const std::string_view> usual_kernels();

}  // namespace vmm
