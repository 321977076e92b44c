// What a peer sends over the stream of a network.
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "devices/backends/net/stream_net.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/descriptors.h"
#include "tests/support/net_end.h"

namespace {

struct OnePeer : vmm::NetEndpoint {
  std::string describe() const override { return "peer"; }
  void start(std::function<void(vmm::UniqueFd)> callback) override { on_peer = std::move(callback); }
  void peer_lost() override {}
  std::function<void(vmm::UniqueFd)> on_peer;
};

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  EventLoop loop;
  auto endpoint = std::make_unique<OnePeer>();
  OnePeer& peer = *endpoint;
  CountingClient client;
  StreamNet net(loop, std::move(endpoint));
  net.attach(&client);
  SocketPair pair;
  peer.on_peer(std::move(pair.ours));
  while (input.next_step() && net.link_up()) {
    const auto bytes = input.take_bytes(input.take_below(300));
    (void)!::write(pair.theirs.get(), bytes.data(), bytes.size());
    loop.run_ready();
    for (std::string frame; (frame = receive(net)) != "nothing";) require(frame.size() >= kNetHeader);
    if (input.take_bool()) send(net, std::string(kNetHeader + input.take_below(2000), 'x'));
  }
}
