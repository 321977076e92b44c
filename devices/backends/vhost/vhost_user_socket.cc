// A back-end's life: the search for one, the first exchange, the loss, and the search again; see vhost_user_socket.h.
#include "devices/backends/vhost/vhost_user_socket.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "devices/virtio/spec.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

// Time for one answer. A machine that ends waits for ten seconds altogether.
constexpr std::chrono::milliseconds kPatience{4000};
constexpr std::chrono::milliseconds kFirstWait{100};
constexpr std::chrono::milliseconds kLastWait{2000};
// Who dies sooner than this will perhaps do so again: it is the guest's doing, or somebody else's.
constexpr std::chrono::seconds kSteady{10};

constexpr uint64_t kRingFeatures =
    feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_RING_F_INDIRECT_DESC) | feature(VIRTIO_RING_F_EVENT_IDX);
constexpr uint64_t kProtocolFeatures = feature(VHOST_USER_PROTOCOL_F_MQ) | feature(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
                                       feature(VHOST_USER_PROTOCOL_F_CONFIG) |
                                       feature(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);

// Empty, with errno, when nobody listens.
UniqueFd connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return UniqueFd();
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    const int error = errno;
    socket = UniqueFd();
    errno = error;
  }
  return socket;
}

Task<std::optional<uint64_t>> ask_number(VhostUserChannel& channel, uint32_t request) {
  const auto reply = co_await channel.ask(request, {});
  if (!reply) co_return std::nullopt;
  const auto number = reply->value<uint64_t>();
  if (!number) channel.give_up(fmt::format("its answer to request {} is none", request));
  co_return number;
}

}  // namespace

struct VhostUserSocket::Introduction {
  std::optional<VhostUserAbilities> abilities;
  std::string why_not;
};

Task<VhostUserSocket::Introduction> VhostUserSocket::introduce(std::shared_ptr<VhostUserChannel> channel,
                                                               VhostUserRole role) {
  const auto gone = [&channel] { return Introduction{{}, channel->why_lost()}; };
  VhostUserAbilities can;
  const auto features = co_await ask_number(*channel, VHOST_USER_GET_FEATURES);
  if (!features) co_return gone();
  can.features = *features & (role.features | kRingFeatures);
  if ((*features & feature(VIRTIO_F_VERSION_1)) == 0) co_return Introduction{{}, "it knows no virtio 1.0"};
  can.queues = role.min_queues;
  if ((*features & feature(VHOST_USER_F_PROTOCOL_FEATURES)) != 0) {
    const auto protocol = co_await ask_number(*channel, VHOST_USER_GET_PROTOCOL_FEATURES);
    if (!protocol) co_return gone();
    can.features |= feature(VHOST_USER_F_PROTOCOL_FEATURES);
    can.protocol = *protocol & kProtocolFeatures;
    channel->tell(VHOST_USER_SET_PROTOCOL_FEATURES, payload_of(can.protocol));
  }
  const auto speaks = [&can](unsigned bit) { return (can.protocol & feature(bit)) != 0; };
  if (speaks(VHOST_USER_PROTOCOL_F_REPLY_ACK)) channel->set_acknowledges();
  if (speaks(VHOST_USER_PROTOCOL_F_MQ)) {
    const auto queues = co_await ask_number(*channel, VHOST_USER_GET_QUEUE_NUM);
    if (!queues) co_return gone();
    can.queues = *queues;
    if (can.queues < role.min_queues) co_return Introduction{{}, fmt::format("it has {} queues", can.queues)};
  }
  channel->tell(VHOST_USER_SET_OWNER, {});
  if (role.config_size > 0) {
    if (!speaks(VHOST_USER_PROTOCOL_F_CONFIG)) co_return Introduction{{}, "it shows no configuration"};
    std::vector<std::byte> empty(role.config_size);
    const auto reply = co_await channel->ask(VHOST_USER_GET_CONFIG, config_payload(0, empty));
    if (!reply) co_return gone();
    const auto config = config_in(*reply, role.config_size);
    if (!config) co_return Introduction{{}, "its configuration is none of this kind of device"};
    can.config = *config;
  }
  co_return Introduction{std::move(can), {}};
}

Task<void> VhostUserSocket::keep(Task<Introduction> task, Introduction& result) { result = co_await task; }

VhostUserSocket::VhostUserSocket(EventLoop& loop, VhostUserRole role, std::string path)
    : loop_(loop),
      role_(std::move(role)),
      path_(std::move(path)),
      retry_(loop, [this] { search(); }),
      wait_(kFirstWait),
      self_(std::make_shared<VhostUserSocket*>(this)) {
  first_meeting();
}

VhostUserSocket::~VhostUserSocket() = default;

std::string VhostUserSocket::how_to_start() const {
  constexpr std::string_view kPlace = "SOCKET";
  std::string line = role_.how;
  if (const size_t at = line.find(kPlace); at != std::string::npos) line.replace(at, kPlace.size(), path_);
  return line;
}

// On a loop of its own, as the machine's does not run yet.
void VhostUserSocket::first_meeting() {
  UniqueFd socket = connect_to(path_);
  if (!socket) {
    throw Error(fmt::format("cannot reach {} back-end '{}': {}", role_.name, path_, errno_text(errno)),
                "start it first, e.g. " + how_to_start());
  }
  EventLoop own;
  const auto channel =
      std::make_shared<VhostUserChannel>(own, std::move(socket), kPatience, VhostUserChannel::OnLost());
  Introduction introduction;
  own.spawn(keep(introduce(channel, role_), introduction), [&own] { own.stop(); });
  own.run();
  if (!introduction.abilities) {
    throw Error(fmt::format("cannot use {} back-end '{}': {}", role_.name, path_, introduction.why_not),
                "one such back-end serves one machine; start it anew: " + how_to_start());
  }
  abilities_ = std::move(*introduction.abilities);
  adopt(channel->release());
  found_ = true;
  found_at_ = std::chrono::steady_clock::now();
}

void VhostUserSocket::adopt(UniqueFd socket) {
  channel_ = std::make_shared<VhostUserChannel>(loop_, std::move(socket), kPatience,
                                                [this](const std::string& why) { lost(why); });
  if (has(VHOST_USER_PROTOCOL_F_REPLY_ACK)) channel_->set_acknowledges();
}

void VhostUserSocket::lost(const std::string& why) {
  if (!std::exchange(found_, false)) return search_later();  // before it was known
  const bool steady = std::chrono::steady_clock::now() - found_at_ > kSteady;
  if (steady) wait_ = kFirstWait;
  guest_warn(log_limit_, "{} '{}': the back-end is gone ({}); the guest's requests wait for it", role_.name, path_,
             why);
  if (client_ != nullptr) client_->backend_lost();
  search_later();
}

void VhostUserSocket::search_later() {
  retry_.start(wait_);
  wait_ = std::min(2 * wait_, kLastWait);
}

void VhostUserSocket::search() {
  UniqueFd socket = connect_to(path_);
  if (!socket) return search_later();
  adopt(std::move(socket));
  loop_.spawn(meet(self_, channel_, role_));
}

Task<void> VhostUserSocket::meet(std::weak_ptr<VhostUserSocket*> weak, std::shared_ptr<VhostUserChannel> channel,
                                 VhostUserRole role) {
  Introduction introduction = co_await introduce(channel, std::move(role));
  const auto self = weak.lock();
  if (self && !channel->lost()) (*self)->met(std::move(introduction));
}

void VhostUserSocket::met(Introduction introduction) {
  const char* lacks = introduction.abilities ? shortcoming(*introduction.abilities) : nullptr;
  if (!introduction.abilities || lacks != nullptr) {
    guest_warn(log_limit_, "{} '{}': the new back-end is of no use: {}", role_.name, path_,
               lacks != nullptr ? lacks : introduction.why_not);
    return channel_->give_up("it is of no use");
  }
  log_info("{} '{}': the back-end is back", role_.name, path_);
  abilities_.config = std::move(introduction.abilities->config);
  found_ = true;
  found_at_ = std::chrono::steady_clock::now();
  if (client_ != nullptr) client_->backend_found();
}

const char* VhostUserSocket::shortcoming(const VhostUserAbilities& other) const {
  if ((abilities_.features & ~other.features) != 0) return "it lacks features that the one before had";
  if ((abilities_.protocol & ~other.protocol) != 0) return "it speaks less of the protocol than the one before";
  if (other.queues < abilities_.queues) return "it has fewer queues than the one before";
  return nullptr;
}

}  // namespace vmm
