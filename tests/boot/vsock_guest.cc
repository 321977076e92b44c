// The guest's side of vsock_test.cc: echoes one connection to port 1024, and tells port 5000 of the host how many bytes
// that were. Linked statically, so that it runs in any root.
#include <sys/socket.h>
#include <unistd.h>
// It needs what <sys/socket.h> defines.
#include <linux/vm_sockets.h>

#include <cstdio>

namespace {

sockaddr_vm address(unsigned cid, unsigned port) {
  sockaddr_vm place = {};
  place.svm_family = AF_VSOCK;
  place.svm_cid = cid;
  place.svm_port = port;
  return place;
}

}  // namespace

int main() {
  const sockaddr_vm here = address(VMADDR_CID_ANY, 1024), there = address(VMADDR_CID_HOST, 5000);
  const int listener = ::socket(AF_VSOCK, SOCK_STREAM, 0);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&here), sizeof here) < 0 || ::listen(listener, 1) < 0)
    return 1;
  std::puts("listening");
  std::fflush(stdout);
  const int client = ::accept(listener, nullptr, nullptr);
  char part[4096];
  long total = 0;
  for (ssize_t length = 0; (length = ::read(client, part, sizeof part)) > 0; total += length) {
    if (::write(client, part, static_cast<size_t>(length)) != length) return 2;
  }
  ::close(client);
  const int caller = ::socket(AF_VSOCK, SOCK_STREAM, 0);
  if (::connect(caller, reinterpret_cast<const sockaddr*>(&there), sizeof there) < 0) return 3;
  ::dprintf(caller, "%ld bytes", total);
  ::close(caller);
  return 0;
}
