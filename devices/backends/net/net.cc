// The words of --net, taken apart, and the network that they name; see net.h.
#include "devices/backends/net/net.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <utility>

#include "devices/backends/net/net_socket.h"
#include "devices/backends/net/pcap.h"
#include "devices/backends/net/stream_net.h"
#include "devices/backends/net/tap.h"
#include "devices/backends/option_list.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr unsigned kMaxQueues = 64;
constexpr const char* kKinds =
    "--net user[,fwd=2222:22] | tap=NAME[,queues=N] | tap-fd=N | socket=PATH | vhost-user=SOCKET | none";

[[noreturn]] void refuse(std::string_view option, std::string_view why, std::string fix = {}) {
  throw Error(fmt::format("--net: '{}': {}", option, why), std::move(fix));
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A port of `option`, or nothing when the text is no number at all.
std::optional<uint16_t> port(std::string_view option, std::string_view text) {
  const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  const auto value = number<uint16_t>(text);
  if (is_number && value.value_or(0) == 0) {
    refuse(option, fmt::format("ports go from 1 to 65535, not {}", text), "fwd=2222:22");
  }
  return value;
}

bool is_address(const std::string& text) {
  std::array<std::byte, sizeof(in6_addr)> ignored;
  return ::inet_pton(AF_INET, text.c_str(), ignored.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), ignored.data()) == 1;
}

// [ADDRESS:]HOSTPORT:GUESTPORT; an IPv6 address stands in brackets.
PortForward parse_forward(std::string_view option, std::string_view value) {
  const auto complain = [option] {
    refuse(option, "no pair of ports", "fwd=2222:22, or fwd=0.0.0.0:2222:22 for all of the host's addresses");
  };
  // QEMU's hostfwd= begins with a protocol.
  if (value.starts_with("udp:")) {
    refuse(option, "only TCP ports are forwarded",
           "--net tap=NAME, through which a guest is reached by its own address");
  }
  if (value.starts_with("tcp:")) refuse(option, "it is TCP without being said", "fwd=2222:22");
  PortForward forward;
  const size_t last = value.rfind(':');
  if (last == value.npos) complain();
  const auto guest = port(option, value.substr(last + 1));
  value = value.substr(0, last);
  const size_t colon = value.rfind(':');
  if (colon != value.npos) {
    std::string_view address = value.substr(0, colon);
    if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
    forward.address = address;
    value = value.substr(colon + 1);
    if (!is_address(forward.address)) {
      refuse(option, fmt::format("'{}' is no address, and names are not looked up", forward.address),
             "fwd=127.0.0.1:2222:22");
    }
  }
  const auto host = port(option, value);
  if (!guest || !host) complain();
  forward.host_port = *host;
  forward.guest_port = *guest;
  return forward;
}

void set_fds(NetConfig& config, std::string_view option, std::string_view value) {
  while (!value.empty()) {
    const size_t colon = value.find(':');
    const auto fd = number<int>(value.substr(0, colon));
    if (!fd || *fd <= 2 || std::ranges::find(config.fds, *fd) != config.fds.end()) {
      refuse(option, "no descriptor of a tap", "tap-fd=3, or tap-fd=3:4 for two queues");
    }
    config.fds.push_back(*fd);
    value = colon == value.npos ? std::string_view() : value.substr(colon + 1);
  }
  if (config.fds.empty() || config.fds.size() > kMaxQueues) refuse(option, "a card has 1 to 64 queues", "tap-fd=3");
}

void set_kind(NetConfig& config, const std::string& text) {
  const size_t equals = text.find('=');
  const std::string kind = text.substr(0, equals);
  const std::string value = equals == text.npos ? std::string() : text.substr(equals + 1);
  const bool named = kind == "tap" || kind == "socket" || kind == "tap-fd" || kind == "vhost-user";
  if (named && value.empty()) refuse(text, "it needs a value", kKinds);
  if (!named && equals != text.npos) refuse(text, "there is no such network", kKinds);
  config.name = value;
  if (kind == "user") {
    config.kind = NetConfig::Kind::kUser;
  } else if (kind == "none") {
    config.kind = NetConfig::Kind::kNone;
  } else if (kind == "tap") {
    config.kind = NetConfig::Kind::kTap;
  } else if (kind == "socket") {
    config.kind = NetConfig::Kind::kSocket;
  } else if (kind == "vhost-user") {
    config.kind = NetConfig::Kind::kVhostUser;
  } else if (kind == "tap-fd") {
    config.kind = NetConfig::Kind::kTapFd;
    set_fds(config, text, value);
  } else {
    refuse(text, "there is no such network", kKinds);
  }
}

void set_mac(NetConfig& config, std::string_view option, std::string_view value) {
  config.mac = MacAddress::parse(value);
  if (!config.mac) refuse(option, "no address of a card", "mac=52:54:00:12:34:56");
  if (config.mac->is_multicast() || *config.mac == MacAddress{}) {
    refuse(option, "the address of a group, not of a card", "mac=52:54:00:12:34:56");
  }
}

void set_filter(NetConfig& config, std::string_view option, std::string_view value) {
  if (value != "on" && value != "off") refuse(option, "neither on nor off", "filter=on or filter=off");
  config.filter = value == "on";
}

void set_queues(NetConfig& config, std::string_view option, std::string_view value) {
  const auto queues = number<uint16_t>(value);
  if (config.kind == NetConfig::Kind::kTapFd) refuse(option, "each descriptor is a queue", "tap-fd=3:4");
  if (config.kind != NetConfig::Kind::kTap) refuse(option, "only a tap has several queues", "tap=NAME,queues=2");
  if (!queues || *queues < 1 || *queues > kMaxQueues) refuse(option, "a card has 1 to 64 queues", "queues=2");
  config.queues = *queues;
}

void add_forward(NetConfig& config, std::string_view option, std::string_view value) {
  if (config.kind != NetConfig::Kind::kUser) {
    refuse(option, "only a user network forwards ports",
           "--net user,fwd=2222:22; through a tap the guest is reached by its own address");
  }
  config.forwards.push_back(parse_forward(option, value));
}

void set_pcap(NetConfig& config, std::string_view option, std::string_view value) {
  if (value.empty()) refuse(option, "it needs a file", "pcap=net.pcap");
  config.pcap = value;
}

struct Option {
  std::string_view name;
  void (*set)(NetConfig&, std::string_view option, std::string_view value);
};
constexpr std::array kOptions{Option{"mac", set_mac}, Option{"filter", set_filter}, Option{"queues", set_queues},
                              Option{"fwd", add_forward}, Option{"pcap", set_pcap}};

void apply_option(NetConfig& config, std::string_view option) {
  const size_t equals = option.find('=');
  const auto known = std::ranges::find(kOptions, option.substr(0, equals), &Option::name);
  if (equals == option.npos || known == kOptions.end()) {
    refuse(option, "unknown option", "fwd=HOSTPORT:GUESTPORT, queues=N, mac=ADDRESS, filter=on, pcap=FILE");
  }
  if (config.kind == NetConfig::Kind::kNone) refuse(option, "there is no network to apply it to", "--net none, alone");
  if (config.kind == NetConfig::Kind::kVhostUser && known->name != "mac") {
    refuse(option, "frames of a vhost-user card do not pass here", "drop it, or --net socket=PATH");
  }
  known->set(config, option, option.substr(equals + 1));
}

// FNV-1a.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// Who this host is among others; nothing where it does not say.
std::string host_identity() {
  std::string identity;
  std::getline(std::ifstream("/etc/machine-id"), identity);
  return identity;
}

}  // namespace

NetConfig NetConfig::parse(std::string_view text) {
  const std::vector<std::string> parts = split_options(text);
  NetConfig config;
  set_kind(config, parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) apply_option(config, parts[i]);
  return config;
}

std::string NetConfig::describe() const {
  std::string text;
  switch (kind) {
    case Kind::kNone:
      return "none";
    case Kind::kUser:
      text = "user";
      for (const PortForward& forward : forwards) {
        text += fmt::format(", {}:{} to {}", forward.address, forward.host_port, forward.guest_port);
      }
      break;
    case Kind::kTap:
      text = fmt::format("{} (tap{})", name, queues > 1 ? fmt::format(", {} queues", queues) : "");
      break;
    case Kind::kTapFd:
      text = fmt::format("descriptor {} (tap)", fmt::join(fds, ":"));
      break;
    case Kind::kSocket:
      text = "socket " + name;
      break;
    case Kind::kVhostUser:
      text = "vhost-user " + name;
      break;
  }
  return pcap.empty() ? text : text + ", copied to " + pcap;
}

std::unique_ptr<NetBackend> open_net(EventLoop& loop, const NetConfig& config) {
  std::unique_ptr<NetBackend> network;
  switch (config.kind) {
    case NetConfig::Kind::kNone:
    case NetConfig::Kind::kVhostUser:
      return nullptr;
    case NetConfig::Kind::kUser:
      network = std::make_unique<StreamNet>(loop, start_passt(loop, config.forwards));
      break;
    case NetConfig::Kind::kTap:
      network = std::make_unique<Tap>(loop, TapPort::open(config.name, config.queues), Tap::OnLoss::kReopen);
      break;
    case NetConfig::Kind::kTapFd:
      network = std::make_unique<Tap>(loop, TapPort::adopt(config.fds), Tap::OnLoss::kStayDown);
      break;
    case NetConfig::Kind::kSocket:
      network = std::make_unique<StreamNet>(loop, open_net_socket(loop, config.name));
      break;
  }
  if (!config.pcap.empty()) network = std::make_unique<Pcap>(loop, std::move(network), config.pcap);
  return network;
}

MacAddress mac_for(const NetConfig& config, size_t number) {
  if (config.mac) return *config.mac;
  // 52:54:00 is what QEMU's cards have; it is of the kind that anybody may give out.
  MacAddress mac{{0x52, 0x54, 0x00, 0x12, 0x34, static_cast<uint8_t>(0x56 + number)}};
  if (config.kind == NetConfig::Kind::kTap) {
    const uint64_t hash = hash_of(fmt::format("{} {}", host_identity(), config.name));
    for (size_t i = 3; i < mac.bytes.size(); ++i) mac.bytes[i] = static_cast<uint8_t>(hash >> (8 * i));
  } else if (config.kind != NetConfig::Kind::kUser) {
    (void)!::getrandom(&mac.bytes[3], 3, 0);
  }
  return mac;
}

}  // namespace vmm
