//! Numbers for people to read. A dash stands for a figure that is not a number, such as the median of nothing.

use bytesize::ByteSize;
use indicatif::HumanCount;

use crate::bench::statistics::Spread;

/// Stands for a missing figure.
pub(crate) const NOTHING: &str = "–";

/// `1,234,567`.
pub(crate) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// `1 message`, `2 messages`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{} {thing}s", count(number)) }
}

/// Messages a second: `152,013`.
pub(crate) fn rate(rate: f64) -> String {
    some(rate, |rate| count(rate.round() as u64))
}

/// The smallest and the largest rate: `148,200–155,300`.
pub(crate) fn spread(spread: Spread) -> String {
    // A single run has no spread.
    if spread.least == spread.most {
        return NOTHING.to_owned();
    }
    some(spread.least + spread.most, |_| format!("{}–{}", rate(spread.least), rate(spread.most)))
}

/// For an axis: `50 k`, `1.5 M`.
pub(crate) fn short(number: f64) -> String {
    some(number, |number| match number.abs() {
        0.0..1e3 => plain(number),
        1e3..1e6 => format!("{} k", plain(number / 1e3)),
        _ => format!("{} M", plain(number / 1e6)),
    })
}

/// A share of 1: `49 %`.
pub(crate) fn percent(share: f64) -> String {
    some(share, |share| format!("{:.0} %", share * 100.0))
}

/// A small share of 1: `0.37 %`.
pub(crate) fn fine_percent(share: f64) -> String {
    some(share, |share| format!("{:.2} %", share * 100.0))
}

/// A change against 1, with its sign: `-4.2 %`.
pub(crate) fn change(change: f64) -> String {
    some(change, |change| format!("{:+.1} %", change * 100.0))
}

/// A ratio: `0.85×`.
pub(crate) fn times(ratio: f64) -> String {
    some(ratio, |ratio| format!("{ratio:.2}×"))
}

/// CPU of a message in µs, without the unit: `1.24`.
pub(crate) fn micros(micros: f64) -> String {
    some(micros, |micros| format!("{micros:.2}"))
}

/// A time given in µs, in a suitable unit: `85 µs`, `1.24 ms`, `12.5 s`. Three significant digits.
pub(crate) fn time(micros: f64) -> String {
    some(micros, |micros| match micros {
        ..999.5 => format!("{micros:.0} µs"),
        ..999_500.0 => format!("{} ms", three_digits(micros / 1e3)),
        _ => format!("{} s", three_digits(micros / 1e6)),
    })
}

/// `6.58 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    some(seconds, |seconds| format!("{} s", three_digits(seconds)))
}

/// `23.4 MiB`; `–` if the system does not report it.
pub(crate) fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| NOTHING.to_owned(), |bytes| ByteSize::b(bytes).display().iec().to_string())
}

fn some(number: f64, text: impl FnOnce(f64) -> String) -> String {
    if number.is_finite() { text(number) } else { NOTHING.to_owned() }
}

/// As many digits as needed, at most three after the point.
fn plain(number: f64) -> String {
    ((number * 1e3).round() / 1e3).to_string()
}

fn three_digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_separators_and_its_noun_a_plural() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!([1, 2, 1000].map(|number| counted(number, "run")), ["1 run", "2 runs", "1,000 runs"]);
    }

    #[test]
    fn a_time_has_a_suitable_unit() {
        for (micros, text) in [
            (85.4, "85 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (1240.0, "1.24 ms"),
            (9_996.0, "10.0 ms"),
            (12_340.0, "12.3 ms"),
            (123_400.0, "123 ms"),
            (12_500_000.0, "12.5 s"),
        ] {
            assert_eq!(time(micros), text);
        }
    }

    #[test]
    fn an_axis_counts_in_thousands_and_millions() {
        for (number, text) in [(0.0, "0"), (0.2, "0.2"), (50e3, "50 k"), (1.5e6, "1.5 M")] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn a_figure_that_is_not_a_number_is_shown_as_a_dash() {
        for number in [f64::NAN, f64::INFINITY] {
            let texts = [rate(number), short(number), percent(number), change(number), times(number)];
            assert!(texts.iter().all(|text| text == NOTHING), "{texts:?}");
            let texts = [micros(number), time(number), seconds(number), fine_percent(number)];
            assert_eq!(texts, [NOTHING; 4]);
        }
        assert_eq!(spread(Spread::of([])), NOTHING);
    }
}
