// The clock with the host's time in the test's hands.
#include "devices/pc/rtc_cmos.h"

#include <catch2/catch.hpp>
#include <ctime>

#include "tests/support/fake_irq_line.h"
#include "tests/support/port_access.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;
using namespace std::chrono_literals;

namespace {

constexpr uint8_t kSeconds = 0, kSecondsAlarm = 1, kMinutes = 2, kMinutesAlarm = 3, kHours = 4, kHoursAlarm = 5;
constexpr uint8_t kDayOfWeek = 6, kDay = 7, kMonth = 8, kYear = 9, kCentury = 0x32;
constexpr uint8_t kA = 10, kB = 11, kC = 12, kD = 13;
constexpr uint8_t kUip = 0x80, kSet = 0x80, kPie = 0x40, kAie = 0x20, kUie = 0x10, kBinary = 0x04, k24Hours = 0x02;
constexpr uint8_t kIrqf = 0x80, kPf = 0x40, kAf = 0x20, kUf = 0x10;

struct Fixture {
  void set_host(const char* utc) {
    tm fields = {};
    ::strptime(utc, "%Y-%m-%d %H:%M:%S", &fields);
    now = RtcCmos::Time(std::chrono::seconds(::timegm(&fields)));
  }

  unsigned get(uint8_t index) {
    write_port(rtc, 0, index);
    return read_port(rtc, 1);
  }
  void set(uint8_t index, unsigned value) {
    write_port(rtc, 0, index);
    write_port(rtc, 1, static_cast<uint8_t>(value));
  }
  std::vector<unsigned> get_time() {
    std::vector<unsigned> fields;
    for (const uint8_t index : {kCentury, kYear, kMonth, kDay, kHours, kMinutes, kSeconds})
      fields.push_back(get(index));
    return fields;
  }

  EventLoop loop;
  FakeIrqLine irq;
  RtcCmos::Time now{1704067198s};  // Sunday, 2023-12-31 23:59:58
  RtcCmos::Battery battery;
  RtcCmos rtc{loop, irq, battery, [this] { return now; }};
};

using Fields = std::vector<unsigned>;

}  // namespace

TEST_CASE("rtc: shows the host's time as BCD, and it goes on", "[rtc]") {
  Fixture f;
  CHECK(f.get_time() == Fields{0x20, 0x23, 0x12, 0x31, 0x23, 0x59, 0x58});
  CHECK(f.get(kDayOfWeek) == 1);
  f.now += 2s;
  CHECK(f.get_time() == Fields{0x20, 0x24, 0x01, 0x01, 0x00, 0x00, 0x00});
  CHECK(f.get(kDayOfWeek) == 2);
}

TEST_CASE("rtc: shows binary numbers when asked", "[rtc]") {
  Fixture f;
  f.set(kB, kBinary | k24Hours);
  CHECK(f.get_time() == Fields{20, 23, 12, 31, 23, 59, 58});
}

TEST_CASE("rtc: in 12-hour mode midnight and noon are 12, and the high bit is PM", "[rtc]") {
  const auto [time, hour] = GENERATE(table<const char*, unsigned>({{"2024-01-01 00:30:00", 0x12},
                                                                   {"2024-01-01 11:30:00", 0x11},
                                                                   {"2024-01-01 12:30:00", 0x92},
                                                                   {"2024-01-01 23:30:00", 0x91}}));
  Fixture f;
  f.set_host(time);
  f.set(kB, 0);
  CHECK(f.get(kHours) == hour);
  f.set(kHours, hour);  // means what it shows
  f.set(kB, k24Hours);
  CHECK(f.get(kHours) / 16 == static_cast<unsigned>(time[11] - '0'));
  CHECK(f.get(kHours) % 16 == static_cast<unsigned>(time[12] - '0'));
}

TEST_CASE("rtc: a time set under SET is the guest's from then on", "[rtc]") {
  Fixture f;
  f.set(kB, kSet | k24Hours);
  f.set(kSeconds, 0x30);
  f.set(kMinutes, 0x15);
  f.set(kHours, 0x06);
  f.set(kDay, 0x29);
  f.set(kMonth, 0x02);
  f.set(kYear, 0x00);
  f.set(kCentury, 0x20);
  f.now += 100s;
  CHECK(f.get(kSeconds) == 0x30);  // stands still
  CHECK((f.get(kA) & kUip) == 0);
  f.set(kB, k24Hours);
  CHECK(f.get_time() == Fields{0x20, 0x00, 0x02, 0x29, 0x06, 0x15, 0x30});
  f.now += 1s;
  CHECK(f.get(kSeconds) == 0x31);
}

TEST_CASE("rtc: a field set while the clock runs takes effect at once", "[rtc]") {
  Fixture f;
  f.set(kYear, 0x30);
  CHECK(f.get_time() == Fields{0x20, 0x30, 0x12, 0x31, 0x23, 0x59, 0x58});
}

TEST_CASE("rtc: months, days and digits that do not exist become the next date that does", "[rtc]") {
  const auto [index, value] = GENERATE(table<uint8_t, unsigned>({{kMonth, 0x00},
                                                                 {kMonth, 0xff},
                                                                 {kDay, 0x00},
                                                                 {kDay, 0xfa},
                                                                 {kHours, 0xff},
                                                                 {kSeconds, 0xaa},
                                                                 {kMinutes, 0x99},
                                                                 {kYear, 0xff},
                                                                 {kCentury, 0xff},
                                                                 {kCentury, 0x00}}));
  Fixture f;
  f.set(index, value);
  const Fields shown = f.get_time();
  CHECK(shown[2] >= 1);
  CHECK(shown[2] <= 0x12);
  CHECK(shown[3] >= 1);
  CHECK(shown[3] <= 0x31);
  CHECK(shown[4] <= 0x23);
  CHECK(shown[5] <= 0x59);
  CHECK(shown[6] <= 0x59);
}

TEST_CASE("rtc: its memory and its time outlast a reset, what it was doing does not", "[rtc]") {
  Fixture f;
  f.set(0x40, 0x5a);
  f.set(0x09, 0x30);
  f.set(0x0b, 0x12);
  RtcCmos again(f.loop, f.irq, f.battery, [&f] { return f.now; });
  const auto get = [&again](uint8_t index) {
    write_port(again, 0, index);
    return read_port(again, 1);
  };
  CHECK(get(0x40) == 0x5a);
  CHECK(get(0x09) == 0x30);
  CHECK(get(0x0b) == 0x02);
}

TEST_CASE("rtc: any value in any register, in any mode, leaves it answering", "[rtc]") {
  Fixture f;
  uint32_t random = 1;
  for (int i = 0; i < 100'000; ++i) {
    random = random * 1664525 + 1013904223;
    f.set(static_cast<uint8_t>(random >> 24), random >> 16 & 0xff);
    f.get(static_cast<uint8_t>(random >> 8));
    f.now += std::chrono::milliseconds(random >> 22);
  }
  f.loop.run_ready();
  f.set(kB, k24Hours);
  f.set(0x40, 0x77);
  CHECK(f.get(0x40) == 0x77);
}

TEST_CASE("rtc: indices from 128 on are those without the NMI mask", "[rtc]") {
  Fixture f;
  f.set(0x80 | 0x7f, 0x42);
  CHECK(f.get(0x7f) == 0x42);
  CHECK(f.get(0xff) == 0x42);
  CHECK(read_port(f.rtc, 0) == 0xff);
}

TEST_CASE("rtc: a wide write sets index and data, and wide reads are bounded", "[rtc]") {
  Fixture f;
  write_port<uint16_t>(f.rtc, 0, 0x5540);
  CHECK(f.get(0x40) == 0x55);
  CHECK(read_port<uint16_t>(f.rtc, 0) == 0x55ff);
  CHECK(read_port<uint32_t>(f.rtc, 1) == 0xffffff55);
}

TEST_CASE("rtc: the battery is good and cannot be spoilt", "[rtc]") {
  Fixture f;
  f.set(kD, 0);
  CHECK(f.get(kD) == 0x80);
}

TEST_CASE("rtc: an update is announced just before the second ends, and only then", "[rtc]") {
  Fixture f;
  f.set(kA, 0xff);
  CHECK(f.get(kA) == 0x7f);
  f.now += 999'800us;
  CHECK(f.get(kA) == 0xff);
  f.now += 200us;
  CHECK(f.get(kA) == 0x7f);
}

TEST_CASE("rtc: flags tell what happened since they were read last", "[rtc]") {
  Fixture f;
  f.get(kC);
  CHECK(f.get(kC) == 0);
  f.now += 1s;
  CHECK(f.get(kC) == (kUf | kPf));
  CHECK(f.get(kC) == 0);
  CHECK(f.irq.rises == 0);
}

TEST_CASE("rtc: the periodic flag comes at the rate that was chosen", "[rtc]") {
  // Rates 1 and 2 are slower than 3.
  const auto [rate, period] = GENERATE(table<unsigned, std::chrono::nanoseconds>(
      {{15, 500ms}, {6, 976'563ns}, {3, 122'071ns}, {2, 7'812'500ns}, {1, 3'906'250ns}}));
  Fixture f;
  f.set(kA, 0x20 | rate);
  f.get(kC);
  f.now += period - 2ns;
  CHECK((f.get(kC) & kPf) == 0);
  f.now += 2ns;
  CHECK((f.get(kC) & kPf) != 0);
}

TEST_CASE("rtc: rate 0 has no periodic flag", "[rtc]") {
  Fixture f;
  f.set(kA, 0x20);
  f.get(kC);
  f.now += 1h;
  CHECK((f.get(kC) & kPf) == 0);
}

TEST_CASE("rtc: the periodic interrupt comes once a period, when the flag of the one before was read", "[rtc]") {
  Fixture f;
  f.set(kA, 0x26);
  f.set(kB, kPie | k24Hours);
  f.loop.run_ready();
  CHECK_FALSE(f.irq.level);
  for (const unsigned round : {1u, 2u, 3u}) {
    f.now += 977us;
    CHECK(wait_until(f.loop, [&] { return f.irq.level; }));
    f.now += 10ms;
    f.loop.run_ready();
    CHECK(f.irq.rises == round);
    CHECK((f.get(kC) & (kIrqf | kPf)) == (kIrqf | kPf));
    CHECK_FALSE(f.irq.level);
  }
  f.set(kB, k24Hours);
  f.now += 1s;
  f.loop.run_ready();
  CHECK_FALSE(f.irq.level);
}

TEST_CASE("rtc: the periodic interrupt is not kept waiting by the update-ended one", "[rtc]") {
  Fixture f;
  f.set(kB, kUie | k24Hours);
  f.loop.run_ready();
  f.set(kB, kPie | kUie | k24Hours);
  f.loop.run_ready();
  f.now += 10ms;
  CHECK(wait_until(f.loop, [&] { return f.irq.level; }));
  CHECK((f.get(kC) & (kPf | kUf)) == kPf);
}

TEST_CASE("rtc: periods are counted from the first, however late the flag is read", "[rtc]") {
  Fixture f;
  f.set(kA, 0x2f);
  f.now += 999ms;
  CHECK((f.get(kC) & kPf) != 0);
  f.now += 1ms;
  CHECK((f.get(kC) & kPf) != 0);
  f.now -= 1h;
  f.get(kC);
  f.now += 500ms;
  CHECK((f.get(kC) & kPf) != 0);
}

TEST_CASE("rtc: the update-ended interrupt comes once a second and is cleared by reading its flag", "[rtc]") {
  Fixture f;
  f.now += 999ms;
  f.set(kB, kUie | k24Hours);
  f.loop.run_ready();
  CHECK_FALSE(f.irq.level);
  f.now += 2ms;
  CHECK(wait_until(f.loop, [&] { return f.irq.level; }));
  CHECK((f.get(kC) & (kIrqf | kUf)) == (kIrqf | kUf));
  CHECK_FALSE(f.irq.level);
}

TEST_CASE("rtc: SET turns the update-ended interrupt off", "[rtc]") {
  Fixture f;
  f.set(kB, kSet | kUie | k24Hours);
  CHECK((f.get(kB) & kUie) == 0);
}

TEST_CASE("rtc: the alarm interrupts at its time", "[rtc]") {
  Fixture f;
  f.set(kHoursAlarm, 0x00);
  f.set(kMinutesAlarm, 0x00);
  f.set(kSecondsAlarm, 0x00);
  f.now += 999ms;
  f.set(kB, kAie | k24Hours);
  f.loop.run_ready();
  CHECK_FALSE(f.irq.level);
  f.now += 1002ms;
  CHECK(wait_until(f.loop, [&] { return f.irq.level; }));
  CHECK((f.get(kC) & (kIrqf | kAf)) == (kIrqf | kAf));
}

TEST_CASE("rtc: an alarm field of 0xc0 or more matches anything", "[rtc]") {
  Fixture f;
  f.set(kHoursAlarm, 0xc0);
  f.set(kMinutesAlarm, 0xff);
  f.set(kSecondsAlarm, 0x05);
  f.get(kC);
  f.now += 6s;
  CHECK((f.get(kC) & kAf) == 0);
  f.now += 1s;
  CHECK((f.get(kC) & kAf) != 0);
  f.now += 59s;
  CHECK((f.get(kC) & kAf) == 0);
  f.now += 1s;
  CHECK((f.get(kC) & kAf) != 0);
}

TEST_CASE("rtc: an alarm is not raised for a time before it was set", "[rtc]") {
  Fixture f;
  f.set(kHoursAlarm, 0x12);
  f.get(kC);
  f.now += 1h;  // nobody looks meanwhile
  f.set(kHoursAlarm, 0x00);
  f.set(kMinutesAlarm, 0x30);
  f.set(kSecondsAlarm, 0x00);
  CHECK((f.get(kC) & kAf) == 0);
}

TEST_CASE("rtc: an alarm time that does not exist never comes, however long the clock was not looked at", "[rtc]") {
  Fixture f;
  f.set(kHoursAlarm, 0x24);
  f.get(kC);
  f.now += std::chrono::hours(24 * 365 * 20);
  CHECK((f.get(kC) & kAf) == 0);
}

TEST_CASE("rtc: a host clock that is set back does no harm", "[rtc]") {
  Fixture f;
  f.set(kSecondsAlarm, 0xff);
  f.set(kMinutesAlarm, 0xff);
  f.set(kHoursAlarm, 0xff);
  f.get(kC);
  f.now -= std::chrono::hours(24 * 365 * 100);
  CHECK((f.get(kC) & kAf) == 0);
  CHECK(f.get_time() == Fields{0x19, 0x24, 0x01, 0x25, 0x23, 0x59, 0x58});
  f.now += 1s;
  CHECK((f.get(kC) & kAf) != 0);
}

TEST_CASE("rtc: a clock that is gone is not looked at by the loop any more", "[rtc]") {
  EventLoop loop;
  FakeIrqLine irq;
  RtcCmos::Battery battery;
  auto rtc = std::make_unique<RtcCmos>(loop, irq, battery);
  write_port<uint16_t>(*rtc, 0, kUie << 8 | kB);
  rtc.reset();
  loop.run_ready();
  CHECK_FALSE(irq.level);
}
