// The clock's registers; see rtc_cmos.h. Whatever bytes the guest puts into them, decoding yields small numbers.
#include "devices/pc/rtc_cmos.h"

#include <algorithm>
#include <ctime>
#include <utility>

namespace vmm {

namespace {

// Register numbers and bits have the data sheet's names.
enum : uint8_t {
  SECONDS = 0x00,
  SECONDS_ALARM = 0x01,
  MINUTES = 0x02,
  MINUTES_ALARM = 0x03,
  HOURS = 0x04,
  HOURS_ALARM = 0x05,
  DAY_OF_WEEK = 0x06,
  DATE_OF_MONTH = 0x07,
  MONTH = 0x08,
  YEAR = 0x09,
  REGISTER_A = 0x0a,
  REGISTER_B = 0x0b,
  REGISTER_C = 0x0c,
  REGISTER_D = 0x0d,
  CENTURY = 0x32,
};
enum : uint8_t { UIP = 0x80, RS_MASK = 0x0f };                                                  // register A
enum : uint8_t { SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 0x04, HOURS_24 = 0x02 };  // register B
enum : uint8_t { IRQF = 0x80, PF = 0x40, AF = 0x20, UF = 0x10 };  // register C, in the order of B's enables
enum : uint8_t { VRT = 0x80 };                                    // register D

constexpr uint8_t kHourPm = 0x80;         // of an hour register in 12-hour mode
constexpr uint8_t kAlarmWildcard = 0xc0;  // both bits: any value matches
constexpr uint8_t kDefaultA = 0x26;       // 32.768 kHz time base, periodic rate 1024 Hz
constexpr int64_t kDay = 24 * 60 * 60;
// The update-in-progress bit announces an update this long before.
constexpr std::chrono::nanoseconds kUpdateAhead = std::chrono::microseconds(244);

bool is_time(uint8_t index) {
  switch (index) {
    case SECONDS:
    case MINUTES:
    case HOURS:
    case DAY_OF_WEEK:
    case DATE_OF_MONTH:
    case MONTH:
    case YEAR:
    case CENTURY:
      return true;
    default:
      return false;
  }
}

}  // namespace

RtcCmos::RtcCmos(EventLoop& loop, IrqLine& irq, Battery& battery, Clock clock)
    : loop_(loop),
      irq_(irq),
      clock_(std::move(clock)),
      cmos_(battery.cmos),
      offset_(battery.offset),
      timer_(loop, [this] { look(); }),
      self_(std::make_shared<RtcCmos*>(this)) {
  cmos_[REGISTER_A] = kDefaultA;
  cmos_[REGISTER_B] = HOURS_24;
  cmos_[REGISTER_C] = 0;
  cmos_[REGISTER_D] = VRT;
  looked_ = guest_seconds();
  period_start_ = clock_();
}

void RtcCmos::read(uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  for (std::byte& byte : data) byte = std::byte{offset++ == 1 ? read_register(index_) : uint8_t{0xff}};
}

void RtcCmos::write(uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  for (const std::byte byte : data) {
    const auto value = std::to_integer<uint8_t>(byte);
    if (offset == 0) index_ = value & 0x7f;  // bit 7 masks the NMI on a PC
    if (offset == 1) write_register(index_, value);
    ++offset;
  }
}

uint8_t RtcCmos::read_register(uint8_t index) {
  if (is_time(index) && !set_mode()) show_time();
  if (index == REGISTER_A) {
    const auto into_second = clock_().time_since_epoch() % std::chrono::seconds(1);
    const bool updating = !set_mode() && into_second >= std::chrono::seconds(1) - kUpdateAhead;
    return static_cast<uint8_t>(cmos_[REGISTER_A] | (updating ? UIP : 0));
  }
  if (index == REGISTER_C) {  // reading clears it, and with it the interrupt
    advance();
    const uint8_t flags = std::exchange(cmos_[REGISTER_C], uint8_t{0});
    update_irq();
    schedule_look();
    return flags;
  }
  return cmos_[index];
}

void RtcCmos::write_register(uint8_t index, uint8_t value) {
  advance();  // what has happened until now is judged by what the registers said until now
  switch (index) {
    case REGISTER_A:
      cmos_[REGISTER_A] = value & static_cast<uint8_t>(~UIP);
      period_start_ = clock_();
      schedule_look();
      return;
    case REGISTER_B: {
      const bool was_set = set_mode();
      if (!was_set) show_time();
      // SET turns off the update-ended interrupt.
      cmos_[REGISTER_B] = (value & SET) != 0 ? value & static_cast<uint8_t>(~UIE) : value;
      if (was_set && !set_mode()) adopt_time();
      update_irq();
      schedule_look();
      return;
    }
    case REGISTER_C:
    case REGISTER_D:
      return;
    default:
      if (is_time(index) && !set_mode()) show_time();
      cmos_[index] = value;
      if (is_time(index) && !set_mode()) adopt_time();
  }
}

bool RtcCmos::set_mode() const { return (cmos_[REGISTER_B] & SET) != 0; }

std::chrono::seconds RtcCmos::guest_seconds() const {
  return std::chrono::floor<std::chrono::seconds>(clock_().time_since_epoch()) + offset_;
}

// Fills the time registers.
void RtcCmos::show_time() {
  const time_t now = guest_seconds().count();
  tm fields = {};
  ::gmtime_r(&now, &fields);
  const int year = fields.tm_year + 1900;
  cmos_[SECONDS] = encode(fields.tm_sec);
  cmos_[MINUTES] = encode(fields.tm_min);
  cmos_[HOURS] = encode_hour(fields.tm_hour);
  cmos_[DAY_OF_WEEK] = encode(fields.tm_wday + 1);
  cmos_[DATE_OF_MONTH] = encode(fields.tm_mday);
  cmos_[MONTH] = encode(fields.tm_mon + 1);
  cmos_[YEAR] = encode(year % 100);
  cmos_[CENTURY] = encode(year / 100);
}

// Makes the time registers the guest's time. Impossible dates become the next possible one, as timegm() has it.
void RtcCmos::adopt_time() {
  tm fields = {};
  fields.tm_sec = decode(cmos_[SECONDS]);
  fields.tm_min = decode(cmos_[MINUTES]);
  fields.tm_hour = decode_hour(cmos_[HOURS]);
  fields.tm_mday = decode(cmos_[DATE_OF_MONTH]);
  fields.tm_mon = decode(cmos_[MONTH]) - 1;
  fields.tm_year = decode(cmos_[CENTURY]) * 100 + decode(cmos_[YEAR]) - 1900;
  offset_ += std::chrono::seconds(::timegm(&fields)) - guest_seconds();
  looked_ = guest_seconds();
}

// Whether the alarm time falls into the seconds (after, last]. A day has every time there is.
bool RtcCmos::alarm_between(int64_t after, int64_t last) const {
  const auto matches = [](uint8_t alarm, int wanted, int64_t value) {
    return (alarm & kAlarmWildcard) == kAlarmWildcard || wanted == value;
  };
  for (int64_t second = std::max(after, last - kDay) + 1; second <= last; ++second) {
    const int64_t of_day = ((second % kDay) + kDay) % kDay;
    if (matches(cmos_[SECONDS_ALARM], decode(cmos_[SECONDS_ALARM]), of_day % 60) &&
        matches(cmos_[MINUTES_ALARM], decode(cmos_[MINUTES_ALARM]), of_day / 60 % 60) &&
        matches(cmos_[HOURS_ALARM], decode_hour(cmos_[HOURS_ALARM]), of_day / 3600)) {
      return true;
    }
  }
  return false;
}

// Sets the flags for what has happened since they were last looked at.
void RtcCmos::advance() {
  const std::chrono::seconds now = guest_seconds();
  uint8_t& flags = cmos_[REGISTER_C];
  if (now > looked_ && !set_mode()) {
    flags |= UF;
    if (alarm_between(looked_.count(), now.count())) flags |= AF;
  }
  looked_ = now;

  const std::chrono::nanoseconds elapsed = clock_() - period_start_;
  if (elapsed < elapsed.zero()) period_start_ += elapsed;  // the host's clock was set back
  if (period() > period().zero() && elapsed >= period()) {
    flags |= PF;
    period_start_ += elapsed / period() * period();
  }
  update_irq();
}

// IRQF, and the wire with it, is up while a flag is set whose interrupt is enabled.
void RtcCmos::update_irq() {
  uint8_t& flags = cmos_[REGISTER_C];
  const bool pending = (flags & cmos_[REGISTER_B] & (PF | AF | UF)) != 0;
  flags = static_cast<uint8_t>((flags & ~unsigned{IRQF}) | (pending ? IRQF : 0));
  irq_.set(pending);
}

// Rate r has a period of 2^(r-1) ticks of 32.768 kHz, but rates 1 and 2 are those of 8 and 9 (data sheet, table 5), and
// rate 0 has none, which is zero here.
std::chrono::nanoseconds RtcCmos::period() const {
  const unsigned rate = cmos_[REGISTER_A] & RS_MASK;
  const unsigned shift = rate < 3 ? rate + 6 : rate - 1;
  return std::chrono::nanoseconds(rate == 0 ? 0 : (int64_t{1} << shift) * 1'000'000'000 / 32'768);
}

bool RtcCmos::wants_seconds() const { return (cmos_[REGISTER_B] & (AIE | UIE)) != 0; }

// A guest that does not read the flag gets no more of them, and costs nothing.
bool RtcCmos::wants_period() const {
  return (cmos_[REGISTER_B] & PIE) != 0 && (cmos_[REGISTER_C] & PF) == 0 && period() > period().zero();
}

// Schedules a look on the loop, to whose thread the timer belongs.
void RtcCmos::schedule_look() {
  if (!wants_seconds() && !wants_period()) return;
  if (std::exchange(look_posted_, true)) return;
  loop_.post([weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock()) (*self)->look();
  });
}

// On the loop: at the end of each period, and just after each full second, while somebody waits for it.
void RtcCmos::look() {
  const std::lock_guard lock(mutex_);
  look_posted_ = false;
  advance();
  const Time now = clock_();
  auto wait = std::chrono::nanoseconds::max();
  if (wants_seconds()) {
    const auto to_next = std::chrono::seconds(1) - now.time_since_epoch() % std::chrono::seconds(1);
    wait = std::chrono::ceil<std::chrono::milliseconds>(to_next);
  }
  if (wants_period()) wait = std::clamp(period_start_ + period() - now, wait.zero(), wait);
  if (wait != wait.max()) timer_.start(wait);
}

// Numbers are BCD unless register B says binary. Nonsense nibbles decode to at most 165.
uint8_t RtcCmos::encode(int value) const {
  if ((cmos_[REGISTER_B] & DM) != 0) return static_cast<uint8_t>(value);
  return static_cast<uint8_t>(value / 10 % 10 * 16 + value % 10);
}
int RtcCmos::decode(uint8_t value) const {
  return (cmos_[REGISTER_B] & DM) != 0 ? value : (value >> 4) * 10 + (value & 0x0f);
}

// In 12-hour mode midnight is 12 AM and noon is 12 PM.
uint8_t RtcCmos::encode_hour(int hour) const {
  if ((cmos_[REGISTER_B] & HOURS_24) != 0) return encode(hour);
  const uint8_t shown = encode(hour % 12 == 0 ? 12 : hour % 12);
  return static_cast<uint8_t>(shown | (hour >= 12 ? kHourPm : 0));
}
int RtcCmos::decode_hour(uint8_t value) const {
  if ((cmos_[REGISTER_B] & HOURS_24) != 0) return decode(value);
  return decode(value & 0x7f) % 12 + ((value & kHourPm) != 0 ? 12 : 0);
}

}  // namespace vmm
