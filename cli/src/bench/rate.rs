//! The rates of `--rates`.

use std::str::FromStr;

/// Messages a second, as a number or as a share of the measured throughput.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    Number(f64),
    /// The measured throughput, divided by this.
    Share(f64),
}

impl Rate {
    /// Messages a second, at this throughput.
    pub(crate) fn at(self, throughput: f64) -> f64 {
        match self {
            Self::Number(rate) => rate,
            Self::Share(divisor) => throughput / divisor,
        }
    }

    /// Whether it depends on the throughput.
    pub(crate) fn is_relative(self) -> bool {
        matches!(self, Self::Share(_))
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `1000`, `max`, `max/2`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NUMBERS: std::ops::RangeInclusive<f64> = 1.0..=10e6;
        let wrong = || {
            format!(
                "{text:?} is not a rate from 1 to 10000000 messages per second; write it like 1000, max or max/2"
            )
        };
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| NUMBERS.contains(number));
        if text == "max" {
            return Ok(Self::Share(1.0));
        }
        match text.strip_prefix("max/") {
            Some(divisor) => number(divisor).map(Self::Share),
            None => number(text).map(Self::Number),
        }
        .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_a_share_of_the_throughput() {
        for (text, at) in [("1000", 1000.0), ("max", 600_000.0), ("max/2", 300_000.0), ("max/1.5", 400_000.0)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.at(600_000.0), at);
            assert_eq!(rate.is_relative(), text.starts_with("max"));
        }
    }

    #[test]
    fn an_invalid_rate_is_refused_with_an_example() {
        for text in ["", "0", "-5", "fast", "max/0", "max/", "max2", "1e12", "NaN", "inf"] {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains("write it like 1000, max or max/2"), "{text}: {error}");
        }
    }
}
