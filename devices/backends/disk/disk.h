// DiskConfig: what `--disk` says. open_disk(): the storage it names.
//
//   F[,ro][,ephemeral][,direct][,serial=S][,sparse=on|off][,queues=N][,block-size=512|4096][,format=raw]
//   vhost-user=SOCKET[,queues=N]         a disk that another process serves; all else is its affair
//
// A comma in the file's name is doubled, as for QEMU.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "devices/backends/disk/block_backend.h"
#include "devices/backends/disk/io_engine.h"

namespace vmm {

struct DiskConfig {
  std::string path;    // of the image; empty with vhost-user
  std::string socket;  // of a vhost-user back-end; else empty
  bool read_only = false;
  bool ephemeral = false;   // writes go to a copy that is thrown away at the end
  bool direct = false;      // O_DIRECT: past the host's page cache
  bool sparse = true;       // discard gives space back
  std::string serial;       // at most 20 bytes
  uint16_t queues = 0;      // 0: one per vCPU
  uint32_t block_size = 0;  // the guest's logical block; 0: what the storage has

  // Throws Error for what it does not understand.
  static DiskConfig parse(std::string_view text);
};

// Opens and locks the file of one that is no socket's. Throws Error when it cannot be used as asked.
std::unique_ptr<BlockBackend> open_disk(const DiskConfig& config, IoEngine& engine);

}  // namespace vmm
