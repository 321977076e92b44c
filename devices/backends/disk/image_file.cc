// Opening and refusing; see image_file.h.
#include "devices/backends/disk/image_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/core/new_file.h"

namespace vmm {

namespace {

constexpr uint64_t kSector = 512;

[[noreturn]] void refuse(const std::string& path, std::string_view why, std::string fix = {}) {
  throw Error(fmt::format("cannot use '{}' as a disk: {}", path, why), std::move(fix));
}

// What a file of this type is called, when it cannot be a disk; empty when it can.
std::string_view unusable_type(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFBLK:
      return {};
    case S_IFDIR:
      return "it is a directory";
    case S_IFIFO:
      return "it is a FIFO";
    case S_IFSOCK:
      return "it is a socket";
    case S_IFCHR:
      return "it is a character device";
    default:
      return "it is neither a regular file nor a block device";
  }
}

void check_type(const std::string& path, mode_t mode) {
  const std::string_view why = unusable_type(mode);
  if (why.empty()) return;
  refuse(path, why, S_ISDIR(mode) ? "make an image of it: mkfs.ext4 -d DIR disk.img 2G" : "pass a disk image");
}

UniqueFd open_fd(const std::string& path, ImageFile::Mode mode, ImageFile::Cache cache) {
  // Asked before opening, because opening a device may already do something; asked again afterwards, of what was
  // opened.
  struct stat named {};
  if (::stat(path.c_str(), &named) == 0) check_type(path, named.st_mode);
  // O_NONBLOCK: should it have become a FIFO meanwhile, opening must not wait for a writer.
  int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  flags |= mode == ImageFile::Mode::kReadOnly ? O_RDONLY : O_RDWR;
  if (cache == ImageFile::Cache::kDirect) flags |= O_DIRECT;
  UniqueFd fd(::open(path.c_str(), flags));
  if (!fd) {
    const int error = errno;
    std::string fix;
    if (error == ENOENT) fix = fmt::format("pass a disk image that is there, or make one: truncate -s 2G {}", path);
    if (error == EINVAL && cache == ImageFile::Cache::kDirect) fix = "its filesystem has no O_DIRECT: drop ,direct";
    if ((error == EACCES || error == EROFS) && mode == ImageFile::Mode::kReadWrite) fix = "add ,ro or ,ephemeral";
    throw Error(fmt::format("cannot open disk '{}': {}", path, errno_text(error)), fix);
  }
  struct stat opened {};
  if (::fstat(fd.get(), &opened) != 0) refuse(path, errno_text(errno));
  check_type(path, opened.st_mode);
  ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK);  // or a request may answer EAGAIN
  return fd;
}

struct Magic {
  std::string_view format;
  size_t offset;
  std::string_view bytes;
  bool packed = false;  // a compressed file, whatever is in it
};

constexpr std::array kMagics{
    Magic{"qcow2", 0, "QFI\xfb"},
    Magic{"vmdk", 0, "KDMV"},
    Magic{"vmdk", 0, "# Disk DescriptorFile"},
    Magic{"vhdx", 0, "vhdxfile"},
    Magic{"vpc", 0, "conectix"},
    Magic{"qed", 0, std::string_view("QED\0", 4)},
    Magic{"vdi", 0x40, "\x7f\x10\xda\xbe"},
    Magic{"gzip", 0, "\x1f\x8b", true},
    Magic{"xz", 0, std::string_view("\xfd\x37zXZ\0", 6), true},
    Magic{"zstd", 0, "\x28\xb5\x2f\xfd", true},
};

// What it is, when it is not the bytes of a disk; null when it may be.
const Magic* other_format(int fd) {
  alignas(4096) std::array<char, 4096> start{};  // aligned for O_DIRECT
  const ssize_t got = ::pread(fd, start.data(), start.size(), 0);
  if (got <= 0) return nullptr;
  const std::string_view content(start.data(), static_cast<size_t>(got));
  const auto* found = std::find_if(kMagics.begin(), kMagics.end(), [content](const Magic& magic) {
    return content.substr(std::min(magic.offset, content.size())).starts_with(magic.bytes);
  });
  return found == kMagics.end() ? nullptr : found;
}

std::string way_to_raw(const std::string& path, const Magic& format) {
  if (format.packed) return fmt::format("decompress {}, and pass what was in it", path);
  return fmt::format("qemu-img convert -f {} -O raw {} disk.img", format.format, path);
}

void check_size(const std::string& path, uint64_t size, const Magic* format) {
  if (size == 0) refuse(path, "it is empty", fmt::format("give it a size: truncate -s 2G {}", path));
  if (size % kSector == 0) return;
  refuse(path, fmt::format("its size, {} bytes, is not a multiple of {}", size, kSector),
         format != nullptr ? way_to_raw(path, *format) : fmt::format("pad it: truncate -s %{} {}", kSector, path));
}

// Alignment for O_DIRECT. Where the kernel does not tell, 4096 fits every disk there is.
void ask_alignment(ImageFile& image) {
  image.offset_alignment = 4096;
  image.memory_alignment = 4096;
#ifdef STATX_DIOALIGN  // of Linux 6.1
  struct statx answer {};
  if (::statx(image.fd.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) != 0) return;
  if ((answer.stx_mask & STATX_DIOALIGN) == 0) return;
  if (answer.stx_dio_offset_align == 0) refuse(image.path, "its filesystem has no O_DIRECT for it", "drop ,direct");
  image.offset_alignment = std::max<uint32_t>(answer.stx_dio_offset_align, kSector);
  image.memory_alignment = answer.stx_dio_mem_align;
#endif
}

// The logical block stays 512 for a file, whatever O_DIRECT wants: the partition table inside counts in the blocks it
// was written with. The alignment goes to the guest as the physical block, which it then keeps to by itself.
BlockTopology ask_topology(const ImageFile& image) {
  BlockTopology topology;
  int logical = 0;
  unsigned physical = 0;
  if (::ioctl(image.fd.get(), BLKSSZGET, &logical) == 0) topology.logical_block = static_cast<uint32_t>(logical);
  struct stat status {};
  if (::ioctl(image.fd.get(), BLKPBSZGET, &physical) == 0) {
    topology.physical_block = physical;
  } else if (::fstat(image.fd.get(), &status) == 0) {
    topology.physical_block = std::bit_floor(std::clamp<uint32_t>(static_cast<uint32_t>(status.st_blksize), 512, 4096));
  }
  topology.physical_block = std::max({topology.physical_block, topology.logical_block, image.offset_alignment});
  return topology;
}

UniqueFd make_unnamed(const std::string& directory) {
  return UniqueFd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

}  // namespace

uint64_t storage_size(int fd) {
  struct stat status {};
  uint64_t device_bytes = 0;
  if (::fstat(fd, &status) != 0) return 0;
  if (!S_ISBLK(status.st_mode)) return static_cast<uint64_t>(status.st_size);
  return ::ioctl(fd, BLKGETSIZE64, &device_bytes) == 0 ? device_bytes : 0;
}

uint64_t known_size(int fd) {
  struct statx answer {};
  const int result = ::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &answer);
  return result == 0 && S_ISREG(answer.stx_mode) ? answer.stx_size : storage_size(fd);
}

ImageFile ImageFile::open(const std::string& path, Mode mode, Cache cache) {
  ImageFile image{.path = path, .fd = open_fd(path, mode, cache), .size = 0, .mode = mode, .topology = {}};
  image.size = storage_size(image.fd.get());
  const Magic* const format = other_format(image.fd.get());
  check_size(path, image.size, format);
  if (cache == Cache::kDirect) ask_alignment(image);
  if (image.size % image.offset_alignment != 0) {
    // The last block could not be written without growing the file.
    refuse(path, fmt::format("its size is not a multiple of {}, which ,direct needs", image.offset_alignment),
           fmt::format("pad it: truncate -s %{} {}", image.offset_alignment, path));
  }
  image.topology = ask_topology(image);
  if (format != nullptr) {
    log_warn("{} looks like {}; vmm uses it as raw bytes", path, format->format);
    log_warn("  fix: {}", way_to_raw(path, *format));
  }
  return image;
}

ImageFile ImageFile::temporary(uint64_t size, const std::string& neighbour) {
  const char* chosen = std::getenv("TMPDIR");
  UniqueFd fd;
  if (chosen != nullptr) fd = make_unnamed(chosen);
  if (!fd) {
    const size_t slash = neighbour.rfind('/');
    fd = make_unnamed(slash == std::string::npos ? "." : neighbour.substr(0, slash + 1));
  }
  if (!fd) fd = make_unnamed("/var/tmp");
  if (!fd) fd = UniqueFd(::memfd_create("vmm-overlay", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    throw Error(fmt::format("cannot make a temporary file for '{}': {}", neighbour, errno_text(errno)),
                fix_for_growth(errno, "set TMPDIR to a directory with room"));
  }
  ImageFile image{.path = "throw-away copy of " + neighbour,
                  .fd = std::move(fd),
                  .size = size,
                  .mode = Mode::kReadWrite,
                  .topology = {}};
  image.topology = ask_topology(image);
  return image;
}

}  // namespace vmm
