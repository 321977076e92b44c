// The clock: any register, any value, and time that jumps.
#include "devices/pc/rtc_cmos.h"

#include "tests/fuzz/fake_ends.h"
#include "tests/fuzz/fuzz_input.h"

void vmm::test::fuzz(FuzzInput& input) {
  EventLoop loop;
  LooseWire wire;
  RtcCmos::Time now(std::chrono::hours(24) * 365 * 55);
  RtcCmos::Battery battery;
  RtcCmos rtc(loop, wire, battery, [&now] { return now; });
  while (input.next_step()) {
    switch (input.take_below(8)) {
      case 0:  // forwards by up to 36 years, or as the host's clock is set, backwards
        now += std::chrono::nanoseconds(input.take<int64_t>() >> 3);
        now = std::clamp(now, RtcCmos::Time(), RtcCmos::Time(std::chrono::hours(24) * 365 * 200));
        break;
      case 1:
        now += std::chrono::milliseconds(input.take<uint16_t>());
        break;
      case 2:
        loop.run_ready();
        break;
      default:
        access(input, rtc, 0, RtcCmos::kPorts);
    }
  }
}
