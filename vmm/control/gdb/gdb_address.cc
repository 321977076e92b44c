// The words of --gdb, and the address that gdb is told; see gdb_address.h.
#include "vmm/control/gdb/gdb_address.h"

#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>

#include "vmm/control/socket/control_address.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr const char* kForms = "--gdb unix:PATH, --gdb tcp::1234, or --gdb alone";

}  // namespace

GdbAddress GdbAddress::parse(std::string_view text) {
  GdbAddress address;
  if (text.starts_with("unix:") && text.size() > 5) {
    address.path = text.substr(5);
    return address;
  }
  const size_t colon = text.rfind(':');
  if (!text.starts_with("tcp:") || colon < 4) throw Error(fmt::format("--gdb: '{}' is no address", text), kForms);
  std::string_view host = text.substr(4, colon - 4);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  address.host = host.empty() ? "127.0.0.1" : host;
  address.port = text.substr(colon + 1);
  uint16_t number = 0;
  const char* const end = address.port.data() + address.port.size();
  const auto [past, error] = std::from_chars(address.port.data(), end, number);
  if (error != std::errc() || past != end || number == 0) {
    throw Error(fmt::format("--gdb: '{}' is no port", address.port), kForms);
  }
  return address;
}

GdbAddress GdbAddress::by_default(const std::string& name) {
  const std::string stem = name.empty() || name.find('/') != name.npos ? std::to_string(::getpid()) : name;
  return {.path = fmt::format("{}/{}.gdb", control_directory(), stem)};
}

std::string GdbAddress::for_gdb() const {
  if (!path.empty()) return path;
  return fmt::format("{}:{}", host.find(':') == host.npos ? host : "[" + host + "]", port);
}

}  // namespace vmm
