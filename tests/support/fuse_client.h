// FuseClient: the guest's side of the FUSE protocol, for tests of the server: a request is put together from structures
// and names, and its answer taken apart.
//
//   FuseClient guest(server);
//   const auto found = guest.ask<fuse_entry_out>(FUSE_LOOKUP, FUSE_ROOT_ID, Text("file"));
//   CHECK(guest.error == 0);
#pragma once

#include <linux/fuse.h>

#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "devices/backends/share/fuse_server.h"

namespace vmm::test {

// A text of a request, which ends with a zero byte.
struct Text {
  explicit Text(std::string its_text) : text(std::move(its_text)) {}
  std::string text;
};
// Bytes of a request as they are.
struct Raw {
  std::string bytes;
};

class FuseClient {
 public:
  explicit FuseClient(FuseServer& server) : server_(server) {}

  // Mounts.
  void init() { ask<fuse_init_out>(FUSE_INIT, 0, fuse_init_in{.major = 7, .minor = 31}); }

  // The body of the answer; zeroes where there is none, and then `error` says why.
  template <typename Answer, typename... Parts>
  Answer ask(uint32_t opcode, uint64_t node, const Parts&... parts) {
    const std::string body = call(opcode, node, sizeof(Answer), parts...);
    Answer answer{};
    std::memcpy(&answer, body.data(), std::min(body.size(), sizeof answer));
    return answer;
  }
  // The errno of the answer.
  template <typename... Parts>
  int tell(uint32_t opcode, uint64_t node, const Parts&... parts) {
    call(opcode, node, 256, parts...);
    return error;
  }
  template <typename... Parts>
  std::string call(uint32_t opcode, uint64_t node, size_t room, const Parts&... parts) {
    std::string request(sizeof(fuse_in_header), '\0');
    (append(request, parts), ...);
    const fuse_in_header header{.len = static_cast<uint32_t>(request.size()),
                                .opcode = opcode,
                                .unique = ++unique_,
                                .nodeid = node,
                                .uid = uid,
                                .gid = gid};
    std::memcpy(request.data(), &header, sizeof header);
    return send(request, room);
  }
  // Any bytes at all, in two buffers that part in the middle.
  std::string send(std::string request, size_t room) {
    std::string reply(sizeof(fuse_out_header) + room, '?');
    const size_t middle = request.size() / 2;
    const iovec in[] = {{request.data(), middle}, {request.data() + middle, request.size() - middle}};
    const iovec out[] = {{reply.data(), reply.size() / 3},
                         {reply.data() + reply.size() / 3, reply.size() - reply.size() / 3}};
    written = server_.answer(in, out);
    fuse_out_header header{};
    if (written >= sizeof header) std::memcpy(&header, reply.data(), sizeof header);
    error = -header.error;
    truthful = written == 0 || (header.len == written && header.unique == unique_);
    return written < sizeof header ? std::string() : reply.substr(sizeof header, written - sizeof header);
  }

  uint64_t look_up(const std::string& name, uint64_t parent = FUSE_ROOT_ID) {
    return ask<fuse_entry_out>(FUSE_LOOKUP, parent, Text(name)).nodeid;
  }
  uint64_t open(uint64_t node, int flags) {
    return ask<fuse_open_out>(FUSE_OPEN, node, fuse_open_in{.flags = static_cast<uint32_t>(flags)}).fh;
  }
  std::string read(uint64_t node, uint64_t handle, uint64_t offset, uint32_t size) {
    return call(FUSE_READ, node, size, fuse_read_in{.fh = handle, .offset = offset, .size = size});
  }
  uint32_t write(uint64_t node, uint64_t handle, uint64_t offset, const std::string& data, int flags = 0) {
    const fuse_write_in header{.fh = handle,
                               .offset = offset,
                               .size = static_cast<uint32_t>(data.size()),
                               .flags = static_cast<uint32_t>(flags)};
    return ask<fuse_write_out>(FUSE_WRITE, node, header, Raw{data}).size;
  }

  int error = 0;          // of the last answer
  size_t written = 0;     // its length
  bool truthful = false;  // its header is as it should be
  uint32_t uid = 0;
  uint32_t gid = 0;

 private:
  static void append(std::string& request, const Text& text) { request += text.text + '\0'; }
  static void append(std::string& request, const Raw& raw) { request += raw.bytes; }
  template <typename T>
  static void append(std::string& request, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    request.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  FuseServer& server_;
  uint64_t unique_ = 0;
};

}  // namespace vmm::test
