//! Time on the agent: a clock that runs on through suspend, and what it is worth after a restart or a reboot.
//!
//! Only durations cross the wire. What was journaled carries both clocks, so that its age is known later: within one boot
//! by the boot clock, which nobody can set; across boots by the wall clock, which is the best there is.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clocks of a machine.
pub trait Clock: Send + Sync + 'static {
    /// Identifies the present boot. All zeros where the system does not tell, which then compares with nothing.
    fn boot(&self) -> [u8; 16];

    /// Milliseconds of a clock that nobody sets, that runs on through suspend, and that starts anew with each boot.
    fn boot_ms(&self) -> i64;

    /// Milliseconds since the Unix epoch. Somebody may set it.
    fn wall_ms(&self) -> i64;
}

/// The clocks of the machine that this process runs on.
pub(crate) struct SystemClock;

/// Identifies one boot of the machine: readings of the boot clock compare only within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BootId(pub(crate) [u8; 16]);

impl Clock for SystemClock {
    fn boot(&self) -> [u8; 16] {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap_or(0)).collect();
        let mut id = [0; 16];
        if digits.len() == 32 {
            for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = pair[0] << 4 | pair[1];
            }
        }
        id
    }

    fn boot_ms(&self) -> i64 {
        let time = rustix::time::clock_gettime(BOOT_CLOCK);
        time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
    }

    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

impl BootId {
    /// Whether `other` is the same boot, as far as anybody can tell.
    pub(crate) fn is_same(self, other: BootId) -> bool {
        self == other && self.0 != [0; 16]
    }
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    /// Milliseconds of the boot clock. Negative for moments before the present boot.
    pub(crate) boot_ms: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
}

impl Stamp {
    /// What the clocks show.
    pub(crate) fn read(clock: &dyn Clock) -> Self {
        Stamp { boot_ms: clock.boot_ms(), wall_ms: clock.wall_ms() }
    }

    /// How long ago this moment of the present boot was.
    pub(crate) fn age(self, now: Stamp) -> Duration {
        Duration::from_millis(now.boot_ms.saturating_sub(self.boot_ms).try_into().unwrap_or(0))
    }

    /// The same moment on the boot clock of `now`, for a stamp of another boot.
    pub(crate) fn carried_over(self, now: Stamp) -> Stamp {
        let age = now.wall_ms.saturating_sub(self.wall_ms).max(0);
        Stamp { boot_ms: now.boot_ms.saturating_sub(age), wall_ms: self.wall_ms }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// Elsewhere the monotonic clock is the boot clock, or the closest there is to one.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_itself_and_an_unknown_one_is_nobody() {
        let here = BootId(SystemClock.boot());
        assert_eq!(here.is_same(BootId(SystemClock.boot())), here.0 != [0; 16]);
        assert!(!BootId([0; 16]).is_same(BootId([0; 16])));
    }

    #[test]
    fn ages_across_boots_follow_the_wall_clock_and_are_never_negative() {
        let now = Stamp { boot_ms: 5_000, wall_ms: 1_000_000 };
        let before = Stamp { boot_ms: 900_000, wall_ms: 940_000 };
        assert_eq!(before.carried_over(now).age(now), Duration::from_secs(60));
        let ahead = Stamp { boot_ms: 0, wall_ms: 2_000_000 };
        assert_eq!(ahead.carried_over(now).age(now), Duration::ZERO);
    }
}
