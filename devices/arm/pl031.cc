// Registers and alarm of the PL031; see pl031.h. Section numbers are those of its manual.
#include "devices/arm/pl031.h"

#include <array>
#include <utility>

#include "devices/register_map.h"

namespace vmm {

struct Pl031::Registers {
  static uint64_t time(Pl031& rtc) { return rtc.now(); }
  static uint64_t match(Pl031& rtc) { return rtc.match_; }
  static void set_match(Pl031& rtc, uint64_t value) {
    rtc.match_ = static_cast<uint32_t>(value);
    rtc.armed_ = static_cast<int32_t>(rtc.match_ - rtc.now()) >= 0;
  }
  static uint64_t load(Pl031& rtc) { return rtc.load_; }
  // Sets the clock (§3.3.3).
  static void set_load(Pl031& rtc, uint64_t value) {
    rtc.load_ = static_cast<uint32_t>(value);
    rtc.offset_ = std::chrono::seconds(value) - rtc.clock_().time_since_epoch();
  }
  static uint64_t control(Pl031&) { return 1; }  // it always runs (§3.3.4)
  static uint64_t mask(Pl031& rtc) { return rtc.unmasked_ ? 1 : 0; }
  static void set_mask(Pl031& rtc, uint64_t value) { rtc.unmasked_ = (value & 1) != 0; }
  static uint64_t raw(Pl031& rtc) { return rtc.raised_ ? 1 : 0; }
  static uint64_t masked(Pl031& rtc) { return rtc.raised_ && rtc.unmasked_ ? 1 : 0; }
  static void clear(Pl031& rtc, uint64_t value) { rtc.raised_ = rtc.raised_ && (value & 1) == 0; }
  template <uint8_t kByte>
  static uint64_t identity(Pl031&) {
    return kByte;
  }

  static constexpr std::array<Register<Pl031>, 16> kMap = {{
      {0x00, 4, time},                // RTCDR
      {0x04, 4, match, set_match},    // RTCMR
      {0x08, 4, load, set_load},      // RTCLR
      {0x0c, 4, control},             // RTCCR
      {0x10, 4, mask, set_mask},      // RTCIMSC
      {0x14, 4, raw},                 // RTCRIS
      {0x18, 4, masked},              // RTCMIS
      {0x1c, 4, identity<0>, clear},  // RTCICR
      {0xfe0, 4, identity<0x31>},     // RTCPeriphID0 to 3
      {0xfe4, 4, identity<0x10>},
      {0xfe8, 4, identity<0x04>},
      {0xfec, 4, identity<0x00>},
      {0xff0, 4, identity<0x0d>},  // RTCPCellID0 to 3
      {0xff4, 4, identity<0xf0>},
      {0xff8, 4, identity<0x05>},
      {0xffc, 4, identity<0xb1>},
  }};
};

Pl031::Pl031(EventLoop& loop, IrqLine& irq, std::chrono::seconds& offset, Clock clock)
    : loop_(loop),
      irq_(irq),
      offset_(offset),
      clock_(std::move(clock)),
      timer_(loop, [this] { watch_alarm(); }),
      self_(std::make_shared<Pl031*>(this)) {
  load_ = now();
}

void Pl031::read(uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  update();
  read_registers<Pl031>(Registers::kMap, *this, offset, data);
}

void Pl031::write(uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  write_registers<Pl031>(Registers::kMap, *this, offset, data);
  update();
}

uint32_t Pl031::now() const { return static_cast<uint32_t>((clock_().time_since_epoch() + offset_).count()); }

// The alarm comes when the clock reaches the match register (§2.4), or is seen to have passed it.
void Pl031::raise_when_due() {
  if (armed_ && static_cast<int32_t>(now() - match_) >= 0) {
    raised_ = true;
    armed_ = false;
  }
  irq_.set(raised_ && unmasked_);
}

// Called with the mutex held.
void Pl031::update() {
  raise_when_due();
  if (!armed_ || !unmasked_ || watched_) return;
  watched_ = true;  // the timer is the loop's
  loop_.post([weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock()) (*self)->watch_alarm();
  });
}

void Pl031::watch_alarm() {
  constexpr std::chrono::milliseconds kOften{250};
  const std::lock_guard lock(mutex_);
  raise_when_due();
  watched_ = armed_ && unmasked_;
  if (watched_) timer_.start(kOften);
}

}  // namespace vmm
