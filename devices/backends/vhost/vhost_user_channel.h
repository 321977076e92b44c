// VhostUserChannel: one connection to a vhost-user back-end, by which requests go out and replies come in.
//
// Nothing here waits: what cannot be sent now is kept until it can, replies are awaited by tasks, and come in the order
// of the requests. A back-end that closes the connection, answers what was not asked, sends a descriptor that nobody
// wants or lets a request wait for longer than the channel's patience has lost it: every task that waits goes on with
// nothing, so does every later request, and `on_lost` is called once, in a later turn of the loop.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/backends/vhost/vhost_user_message.h"
#include "vmm/core/async.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"
#include "vmm/core/wakeup.h"

namespace vmm {

class VhostUserChannel {
 public:
  using OnLost = std::function<void(const std::string& why)>;

  // The socket is connected and non-blocking. Not `on_lost`, when the channel is destroyed first.
  VhostUserChannel(EventLoop& loop, UniqueFd socket, std::chrono::milliseconds patience, OnLost on_lost);
  VhostUserChannel(const VhostUserChannel&) = delete;
  VhostUserChannel& operator=(const VhostUserChannel&) = delete;
  ~VhostUserChannel();

  // A request without an answer. The descriptors are the caller's, until a later ask() has come back.
  void tell(uint32_t request, std::span<const std::byte> payload, std::span<const int> fds = {});
  // The same, in the place of one of its kind that is still to be sent: what is told often does not pile up.
  void tell_latest(uint32_t request, std::span<const std::byte> payload);
  // One with an answer; nothing when the channel is lost. Only VHOST_USER_GET_INFLIGHT_FD is answered with a
  // descriptor.
  Task<std::optional<VhostUserReply>> ask(uint32_t request, std::vector<std::byte> payload);
  // One that has no answer of its own, and its success acknowledged where the back-end can do that.
  Task<bool> confirm(uint32_t request, std::vector<std::byte> payload, std::vector<int> fds);

  // VHOST_USER_PROTOCOL_F_REPLY_ACK has been agreed on.
  void set_acknowledges() { acknowledges_ = true; }
  // Gives the back-end up, for a caller who finds an answer wrong.
  void give_up(const std::string& why);
  bool lost() const { return !socket_; }
  const std::string& why_lost() const { return why_lost_; }
  UniqueFd release() { return std::move(socket_); }  // and the channel counts as lost

 private:
  struct Waiting {
    uint32_t request;
    std::optional<VhostUserReply> reply;
    Wakeup answered;
  };
  struct Message {
    uint32_t request;
    std::vector<std::byte> bytes;
    std::vector<int> fds;
    size_t sent = 0;
  };

  void send(Message message);
  Task<std::optional<VhostUserReply>> reply_to(uint32_t request);
  void flush();
  void readable();
  bool take_reply();
  void wake(Waiting& waiting);

  EventLoop& loop_;
  UniqueFd socket_;
  const std::chrono::milliseconds patience_;
  OnLost on_lost_;
  FdWatch readable_;
  FdWatch writable_;
  Timer limit_;  // for the first of waiting_
  VhostUserDecoder decoder_;
  UniqueFd received_fd_;  // with the message that is arriving
  std::deque<Message> output_;
  std::deque<Waiting*> waiting_;  // each lives in the task that waits
  bool acknowledges_ = false;
  std::string why_lost_;
  std::shared_ptr<VhostUserChannel*> self_;
};

}  // namespace vmm
