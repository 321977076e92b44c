// FakeIoEngine: an IoEngine that asks the test what each request shall answer.
#pragma once

#include <cerrno>
#include <functional>
#include <vector>

#include "devices/backends/disk/io_engine.h"
#include "devices/backends/iovecs.h"

namespace vmm::test {

class FakeIoEngine : public IoEngine {
 public:
  explicit FakeIoEngine(EventLoop& loop) : loop_(loop) {}

  const char* name() const override { return "fake"; }
  int add_file(int fd) override { return fd; }
  void remove_file(int) override {}
  void start(IoRequest& request) override {
    requests.push_back(request);
    ++in_flight_;
    loop_.post([this, &request] {
      --in_flight_;
      request.complete(answer(request));
    });
  }
  void drain() override {
    while (in_flight_ > 0) loop_.run_ready();
  }

  std::vector<IoRequest> requests;  // as they came; their buffers are not valid any more
  // Everything succeeds, in full, unless the test says otherwise.
  std::function<ssize_t(const IoRequest&)> answer = [](const IoRequest& request) {
    return static_cast<ssize_t>(total_size(request.buffers));
  };

 private:
  EventLoop& loop_;
  size_t in_flight_ = 0;
};

}  // namespace vmm::test
