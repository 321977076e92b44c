// Clients and their lines; see control_server.h.
#include "vmm/control/socket/control_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "devices/backends/unix_listener.h"

namespace vmm {

namespace {

constexpr int kBacklog = 16;
constexpr std::chrono::seconds kRetry{1};

}  // namespace

ControlServer::ControlServer(EventLoop& loop, const std::string& path, Controls& controls,
                             std::chrono::milliseconds patience)
    : loop_(loop),
      controls_(controls),
      path_(path),
      patience_(patience),
      claim_(claim_control_path(path)),
      listener_(listen_unix("control socket", path, kBacklog, claim_)),
      incoming_(loop, listener_.get(), FdWatch::Event::kReadable, [this] { accept(); }),
      retry_(loop, [this] { incoming_.arm(); }) {
  incoming_.arm();
}

ControlServer::~ControlServer() { ::unlink(path_.c_str()); }

void ControlServer::accept() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) return retry_.start(kRetry);
  if (socket) {
    const auto client = clients_.emplace(clients_.end());
    client->socket = std::move(socket);
    client->readable.emplace(loop_, client->socket.get(), FdWatch::Event::kReadable,
                             [this, client] { receive(client); });
    client->writable.emplace(loop_, client->socket.get(), FdWatch::Event::kWritable, [this, client] { serve(client); });
    client->deadline.emplace(loop_, [this, client] { close(client); });
    client->readable->arm();
    client->deadline->start(patience_);
  }
  if (clients_.size() < kMaxClients) incoming_.arm();
}

void ControlServer::receive(Clients::iterator client) {
  std::array<char, kMaxLine> bytes;
  const ssize_t length = ::recv(client->socket.get(), bytes.data(), kMaxLine - client->input.size(), MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return client->readable->arm();
  if (length <= 0) return close(client);
  client->input.append(bytes.data(), static_cast<size_t>(length));
  serve(client);
}

// One request at a time: the next is looked at when the answer has been taken.
void ControlServer::serve(Clients::iterator client) {
  do {
    if (!send_some(*client)) return close(client);
    if (!client->output.empty()) {
      if (!client->deadline->running()) client->deadline->start(patience_);
      return client->writable->arm();
    }
    if (client->answer_due) return;
    if (client->console) return hand_over(client);
    if (client->leaving) return close(client);
  } while (take_line(client));
  client->wants_events ? client->deadline->cancel() : client->deadline->start(patience_);
  client->readable->arm();
}

// False when there is none yet.
bool ControlServer::take_line(Clients::iterator client) {
  const size_t end = client->input.find('\n');
  if (end == std::string::npos && client->input.size() < kMaxLine) return false;
  client->deadline->cancel();
  if (end == std::string::npos) {
    client->output = refusal("the line is too long") + "\n";
    client->leaving = true;
    return true;
  }
  const std::string line = client->input.substr(0, end);
  client->input.erase(0, end + 1);
  if (const auto console = answer_console(controls_, line)) {
    client->output = console->text + "\n";
    client->console = console->console;
    return true;
  }
  client->wants_events = client->wants_events || asks_for_events(line);
  client->answer_due = std::make_shared<Clients::iterator>(client);
  const auto now = answer(controls_, line, [this, weak = std::weak_ptr(client->answer_due)](const std::string& text) {
    const auto waiting = weak.lock();
    if (!waiting) return;
    (*waiting)->answer_due.reset();
    (*waiting)->output += text + "\n";
    serve(*waiting);
  });
  if (now) {
    client->answer_due.reset();
    client->output = *now + "\n";
  }
  return true;
}

// False when the client is gone.
bool ControlServer::send_some(Client& client) {
  while (!client.output.empty()) {
    const ssize_t length =
        ::send(client.socket.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno == EAGAIN;
    client.output.erase(0, static_cast<size_t>(length));
  }
  return true;
}

void ControlServer::announce(std::string_view event) {
  const std::string line = event_line(event) + "\n";
  for (auto client = clients_.begin(); client != clients_.end();) {
    const auto here = client++;
    if (!here->wants_events) continue;
    here->output += line;
    if (!send_some(*here) || here->output.size() > kMaxEvents) {
      close(here);
    } else if (!here->output.empty()) {
      here->writable->arm();
    }
  }
}

void ControlServer::hand_over(Clients::iterator client) {
  client->readable.reset();
  client->writable.reset();
  const std::string console = *client->console;
  const std::string typed = client->input;
  UniqueFd socket = std::move(client->socket);
  close(client);
  controls_.admit(console, std::move(socket), typed);
}

void ControlServer::close(Clients::iterator client) {
  clients_.erase(client);
  if (!retry_.running()) incoming_.arm();
}

}  // namespace vmm
