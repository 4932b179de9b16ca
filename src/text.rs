//! The format of numbers and durations in texts.

use std::fmt;
use std::time::Duration;

/// A duration with two or three digits: `250ms`, `3.3s`, `42s`, `17min`, `5.6h`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasted(pub(crate) Duration);

/// A count and its noun: `1 message`, `2 messages`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count(pub(crate) u64, pub(crate) &'static str, pub(crate) &'static str);

/// A number of bytes: `64 KiB`, `1.5 MiB`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size(pub(crate) usize);

/// A number of messages.
pub(crate) fn messages(count: u64) -> Count {
    Count(count, "message", "messages")
}

/// A number of entries of a stream.
pub(crate) fn entries(count: u64) -> Count {
    Count(count, "entry", "entries")
}

/// Seconds, rounded to milliseconds, as a field of an event.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// For each unit: the seconds from which it is used, its length in seconds, and its name.
        const UNITS: [(f64, f64, &str); 6] = [
            (48.0 * 3600.0, 86_400.0, "d"),
            (120.0 * 60.0, 3600.0, "h"),
            (120.0, 60.0, "min"),
            (0.9995, 1.0, "s"),
            (0.0009995, 1e-3, "ms"),
            (0.0, 1e-6, "µs"),
        ];
        let seconds = self.0.as_secs_f64();
        let (_, unit, name) =
            UNITS.into_iter().find(|(from, ..)| seconds >= *from).unwrap_or((0.0, 1.0, "s"));
        let tenths = (seconds / unit * 10.0).round();
        if tenths < 100.0 && tenths % 10.0 != 0.0 {
            write!(f, "{:.1}{name}", tenths / 10.0)
        } else {
            write!(f, "{:.0}{name}", seconds / unit)
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| self.0 >= *unit) else {
            return write!(f, "{} bytes", self.0);
        };
        let tenths = (self.0 as f64 / unit as f64 * 10.0).round();
        if tenths % 10.0 == 0.0 {
            write!(f, "{:.0} {name}", tenths / 10.0)
        } else {
            write!(f, "{:.1} {name}", tenths / 10.0)
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, one, several) = *self;
        write!(f, "{count} {}", if count == 1 { one } else { several })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_or_three_digits() {
        for (seconds, text) in [
            (0.0, "0µs"),
            (0.000_25, "250µs"),
            (0.003_333, "3.3ms"),
            (0.25, "250ms"),
            (0.9996, "1s"),
            (3.333_333_333, "3.3s"),
            (5.0, "5s"),
            (9.97, "10s"),
            (42.4, "42s"),
            (119.0, "119s"),
            (1_000.0, "17min"),
            (20_000.0, "5.6h"),
            (345_600.0, "4d"),
        ] {
            assert_eq!(Lasted(Duration::from_secs_f64(seconds)).to_string(), text);
        }
    }

    #[test]
    fn a_size_has_the_largest_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1 << 16, "64 KiB"),
            (1_500_000, "1.4 MiB"),
            (256 << 20, "256 MiB"),
            (4 << 30, "4 GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(messages(1).to_string(), "1 message");
        assert_eq!(entries(0).to_string(), "0 entries");
    }
}
