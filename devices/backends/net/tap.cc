// Frames and the link; see tap.h.
#include "devices/backends/net/tap.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr std::chrono::milliseconds kRetry{10};

enum class Health { kUp, kDown, kGone };

// The kernel calls a tap writable while its interface is up (tun_chr_poll() in drivers/net/tun.c).
Health health_of(int fd) {
  pollfd state{fd, POLLOUT, 0};
  while (::poll(&state, 1, 0) < 0 && errno == EINTR) {
  }
  if ((state.revents & (POLLERR | POLLNVAL)) != 0) return Health::kGone;
  return (state.revents & POLLOUT) != 0 ? Health::kUp : Health::kDown;
}

template <typename Call>
ssize_t uninterrupted(Call call) {
  ssize_t result = 0;
  do result = call();
  while (result < 0 && errno == EINTR);
  return result;
}

// Which interface changed, and how, does not matter.
void drain(int netlink) {
  std::array<std::byte, 4096> ignored;
  ssize_t length = 0;
  do length = ::recv(netlink, ignored.data(), ignored.size(), 0);
  while (length > 0 || (length < 0 && (errno == EINTR || errno == ENOBUFS)));
}

}  // namespace

Tap::Tap(EventLoop& loop, TapPort port, OnLoss on_loss)
    : loop_(loop), port_(std::move(port)), offloads_(port_.offloads), mtu_(port_.mtu), on_loss_(on_loss) {
  watch_queues();
  watch_interfaces();
  look();
  if (!link_up_) log_warn("{} is down: so is the guest's link, until `ip link set {} up`", describe(), port_.name);
  configure(0, 1);
}

void Tap::watch_queues() {
  queues_.clear();
  for (size_t i = 0; i < port_.queues.size(); ++i) {
    const int fd = port_.queues[i].get();
    queues_.push_back(std::make_unique<Queue>(
        Queue{.readable = FdWatch(loop_, fd, FdWatch::Event::kReadable, [this, i] { arrived(i); }),
              .writable = FdWatch(loop_, fd, FdWatch::Event::kWritable, [this, i] { writable(i); }),
              .retry = Timer(loop_, [this, i] { writable(i); })}));
  }
}

// Without it (no descriptor left) the link is still judged by what becomes of frames.
void Tap::watch_interfaces() {
  interfaces_ = UniqueFd(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  if (!interfaces_) return;
  if (::bind(interfaces_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return;
  interfaces_changed_.emplace(loop_, interfaces_.get(), FdWatch::Event::kReadable, [this] { look(); });
  interfaces_changed_->arm();
}

void Tap::attach(NetClient* client) {
  client_ = client;
  for (const auto& queue : queues_) queue->readable.disarm();
}

void Tap::configure(uint64_t guest_offloads, size_t queues_used) {
  guest_offloads_ = guest_offloads;
  queues_used_ = queues_used;
  if (lost_) return;
  if (!set_tap_offloads(port_.queues[0].get(), guest_offloads) && guest_offloads != 0) {
    log_warn("{}: the kernel takes the guest's offloads no more", describe());
  }
  for (size_t i = 0; i < queues_.size(); ++i) {
    const bool used = i < queues_used;
    if (std::exchange(queues_[i]->used, used) != used) set_tap_queue_used(port_.queues[i].get(), used);
  }
}

std::optional<size_t> Tap::receive(size_t index, std::span<const iovec> room) {
  Queue& queue = *queues_[index];
  if (lost_ || !queue.used) return std::nullopt;
  if (queue.budget > 0) {
    --queue.budget;
    const ssize_t length =
        uninterrupted([&] { return ::readv(port_.queues[index].get(), room.data(), static_cast<int>(room.size())); });
    if (length >= 0) return static_cast<size_t>(length);
    if (errno != EAGAIN) {
      look();
      if (lost_) return std::nullopt;
    }
  }
  queue.readable.arm();
  return std::nullopt;
}

bool Tap::send(size_t index, std::span<const iovec> frame) {
  Queue& queue = *queues_[index];
  if (!link_up_ || !queue.used) return true;
  const ssize_t length =
      uninterrupted([&] { return ::writev(port_.queues[index].get(), frame.data(), static_cast<int>(frame.size())); });
  if (length >= 0) return true;
  switch (errno) {
    case EAGAIN:
      queue.writable.arm();
      return false;
    case ENOBUFS:
    case ENOMEM:  // the host is short of memory, and no event says when that is over
      queue.retry.start(kRetry);
      return false;
    case EIO:
    case EBADFD:
      look();
      break;
    default:  // EINVAL: the kernel does not believe the header
      break;
  }
  ++stats_.dropped;
  return true;
}

void Tap::arrived(size_t index) {
  queues_[index]->budget = kBatch;
  if (client_ != nullptr) client_->frames_arrived(index);
}

void Tap::writable(size_t index) {
  if (!link_up_) look();
  if (client_ != nullptr) client_->room_made(index);
}

// Takes notice of what has become of the interface.
void Tap::look() {
  if (interfaces_changed_) {
    drain(interfaces_.get());
    interfaces_changed_->arm();
  }
  if (lost_ && !reopen()) return;
  const Health health = health_of(port_.queues[0].get());
  if (health == Health::kGone) return lost();
  if (health == Health::kDown) queues_[0]->writable.arm();  // which it is when it is up again
  set_link(health == Health::kUp);
}

// True when there is an interface of our name again.
bool Tap::reopen() {
  if (on_loss_ == OnLoss::kStayDown || !interface_exists(port_.name)) return false;
  try {
    TapPort port = TapPort::open(port_.name, port_.queues.size());
    if ((offloads_ & ~port.offloads) != 0) return false;
    port_ = std::move(port);
  } catch (const Error& error) {
    log_debug("{}", error.what());
    return false;
  }
  lost_ = false;
  watch_queues();
  configure(guest_offloads_, queues_used_);
  wake_client();
  return true;
}

void Tap::lost() {
  if (std::exchange(lost_, true)) return;
  log_warn("{}: the interface was deleted; the guest's link is down{}", describe(),
           on_loss_ == OnLoss::kReopen ? ", until there is one of that name again" : "");
  for (const auto& queue : queues_) {
    queue->readable.disarm();
    queue->writable.disarm();
    queue->retry.cancel();
  }
  set_link(false);
}

void Tap::set_link(bool up) {
  if (std::exchange(link_up_, up) == up) return;
  if (!lost_) log_debug("{}: the link is {}", describe(), up ? "up" : "down");
  if (client_ == nullptr) return;
  client_->link_changed();
  wake_client();  // a frame that waits for room must be dropped when the link went down
}

void Tap::wake_client() {
  if (client_ == nullptr) return;
  for (size_t i = 0; i < queues_.size(); ++i) {
    client_->frames_arrived(i);
    client_->room_made(i);
  }
}

}  // namespace vmm
