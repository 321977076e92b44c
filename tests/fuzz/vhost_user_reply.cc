// What a back-end of vhost-user answers, to a front end that asks the whole time.
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "devices/backends/vhost/vhost_user_channel.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/descriptors.h"

namespace vmm::test {

namespace {

constexpr std::array<uint32_t, 4> kRequests{VHOST_USER_GET_FEATURES, VHOST_USER_GET_CONFIG, VHOST_USER_GET_INFLIGHT_FD,
                                            VHOST_USER_GET_VRING_BASE};

Task<void> ask(VhostUserChannel& channel, uint32_t request, size_t& waiting) {
  ++waiting;
  const auto reply = co_await channel.ask(request, {});
  --waiting;
  if (!reply) co_return;
  require(reply->request == request && reply->payload.size() <= VhostUserDecoder::kMaxPayload);
  require(!reply->fd || request == VHOST_USER_GET_INFLIGHT_FD);
  const auto config = config_in(*reply, 60);
  require(!config || config->size() == 60);
  (void)reply->value<VhostUserInflight>();
}

// Half of all headers could be an honest back-end's.
void answer(FuzzInput& input, int socket) {
  VhostUserHeader header = input.take<VhostUserHeader>();
  if (input.take_bool()) {
    header = {.request = kRequests[input.take_below(kRequests.size())],
              .flags = VhostUserHeader::kVersion | VhostUserHeader::kReply,
              .size = static_cast<uint32_t>(input.take_below(80))};
  }
  const auto payload = input.take_bytes(input.take_below(100));
  std::array<iovec, 2> parts{iovec{&header, sizeof header},
                             iovec{const_cast<std::byte*>(payload.data()), payload.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  alignas(cmsghdr) std::array<char, CMSG_SPACE(3 * sizeof(int))> control{};
  if (const size_t fds = input.take_below(4); fds > 0) {
    const std::array<int, 3> rights{socket, socket, socket};
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds * sizeof(int));
    cmsghdr* first = CMSG_FIRSTHDR(&message);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(fds * sizeof(int));
    std::memcpy(CMSG_DATA(first), rights.data(), fds * sizeof(int));
  }
  (void)!::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

void fuzz(FuzzInput& input) {
  EventLoop loop;
  SocketPair pair;
  size_t waiting = 0;
  bool lost = false;
  {
    VhostUserChannel channel(loop, std::move(pair.ours), std::chrono::seconds(100),
                             [&](const std::string&) { lost = true; });
    while (input.next_step() && !channel.lost()) {
      if (input.take_bool()) loop.spawn(ask(channel, kRequests[input.take_below(kRequests.size())], waiting));
      answer(input, pair.theirs.get());
      loop.run_ready();
    }
    loop.run_ready();
    require(lost == channel.lost());
    channel.give_up("the end");
    loop.run_ready();
    require(waiting == 0);
  }
  loop.run_ready();
}

}  // namespace vmm::test
