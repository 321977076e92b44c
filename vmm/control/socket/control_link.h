// ControlLink: a connection to a running machine's control socket, from the asking side. See control_verbs.h for the
// words.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

class ControlLink {
 public:
  // To the machine of this name, or whose socket is at this path. Nothing when nobody listens there; throws Error when
  // that cannot be told.
  static std::optional<ControlLink> to(const std::string& name);

  // What is answered to a request. Throws Error with the machine's words when it says no, and when it says nothing for
  // ten seconds.
  nlohmann::json ask(const nlohmann::json& request) const;
  // From now on without that limit.
  void wait_as_long_as_it_takes() const;
  // What comes behind the last answer is its taker's.
  UniqueFd take_socket() { return std::move(socket_); }

 private:
  explicit ControlLink(UniqueFd socket) : socket_(std::move(socket)) {}
  std::string line_back(const std::string& line) const;

  UniqueFd socket_;
};

// The answer in a line of text. Throws Error when it is a refusal.
nlohmann::json understood_answer(const std::string& line);

// Why there is no link. `besides` is said too.
Error not_running(const std::string& name, const std::string& besides = {});

}  // namespace vmm
