//! Latency by percentile: a curve for each rate.

use kuva::prelude::{LegendPosition, LinePlot, Plot, ReferenceLine};

use super::{COLORS, Chart, FAINT, layout, ticks};
use crate::bench::output::numbers;
use crate::bench::output::section::FAILED;
use crate::bench::report::{Distribution, Latency, Outcome, Report};

/// The axis ends at 99.99 %: 4 nines.
const NINES: f64 = 4.0;

/// Points of a curve for each nine.
const STEPS: u32 = 20;

/// `None` if no rate was reached.
pub(super) fn chart(report: &Report) -> Option<Chart> {
    let curves: Vec<_> = report.latency.iter().map(|latency| (latency, curve(latency))).collect();
    let times = || curves.iter().flat_map(|(_, points)| points).map(|(_, time)| *time);
    let (least, most) = (times().reduce(f64::min)?, times().reduce(f64::max)?);

    let colors = COLORS.iter().cycle();
    let plots: Vec<Plot> = curves
        .iter()
        .zip(colors)
        .map(|((latency, points), color)| {
            LinePlot::new().with_data(points.clone()).with_color(*color).with_legend(name(latency)).into()
        })
        .collect();
    let median =
        ReferenceLine::vertical(2f64.log10()).with_color(FAINT).with_dasharray("2 3").with_label("50 %");
    let layout = layout(&plots)
        .with_title("Latency")
        .with_x_label("percentile")
        .with_y_label("latency, ms")
        .with_x_axis_min(0.0)
        .with_x_axis_max(NINES)
        .with_x_tick_step(1.0)
        .with_x_tick_format(ticks(percentile))
        .with_log_y()
        .with_y_axis_min(step_below(least / 1.05))
        .with_y_axis_max(step_above(most * 1.05))
        .with_y_tick_format(ticks(numbers::short))
        .with_reference_line(median)
        .with_legend_title("messages/s")
        .with_legend_position(LegendPosition::OutsideRightTop);
    Some(Chart { plots, layout })
}

/// The rate, and whether it failed or was not reached.
fn name(latency: &Latency) -> String {
    let rate = numbers::short(latency.rate);
    match latency.outcome {
        _ if !latency.delivery.is_flawless() => format!("{rate}: {FAILED}"),
        Outcome::Missed { .. } => format!("{rate}: missed"),
        Outcome::Reached { .. } => rate,
    }
}

/// Nines of the percentile, and the time in ms. Only positive times, for the logarithmic axis.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    match &latency.outcome {
        Outcome::Reached { latency, .. } => points(latency),
        Outcome::Missed { .. } => Vec::new(),
    }
}

fn points(times: &Distribution) -> Vec<(f64, f64)> {
    let total: u64 = times.classes.iter().fold(0, |total, (_, count)| total.saturating_add(*count));
    // The slowest of 100 messages is the 99th percentile: further nines would repeat it.
    let end = (total as f64).log10().min(NINES);
    let steps = (end * f64::from(STEPS)).floor().max(0.0) as u32;
    let mut points = Vec::new();
    let mut classes = times.classes.iter();
    let (mut time, mut seen) = (f64::NAN, 0_u64);
    for step in 0..=steps {
        let nines = f64::from(step) / f64::from(STEPS);
        let wanted = (total as f64 * (1.0 - 10f64.powf(-nines))).max(1.0);
        while (seen as f64) < wanted {
            let Some((bound, count)) = classes.next() else { break };
            seen = seen.saturating_add(*count);
            time = bound / 1e3;
        }
        points.push((nines, time));
    }
    points.retain(|(_, time)| time.is_finite() && *time > 0.0);
    points
}

/// `99.9 %` for 3 nines.
fn percentile(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    format!("{} %", (percent * 1e3).round() / 1e3)
}

/// The next of 1, 2, 5, 10, 20 … at or below.
fn step_below(time: f64) -> f64 {
    let decade = 10f64.powf(time.log10().floor());
    [5.0, 2.0].map(|step| step * decade).into_iter().find(|step| *step <= time).unwrap_or(decade)
}

fn step_above(time: f64) -> f64 {
    let decade = 10f64.powf(time.log10().floor());
    [1.0, 2.0, 5.0].map(|step| step * decade).into_iter().find(|step| *step >= time).unwrap_or(decade * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(classes: &[(f64, u64)]) -> Distribution {
        Distribution { p50: 0.0, p90: 0.0, p99: 0.0, p999: 0.0, max: 0.0, classes: classes.to_vec() }
    }

    #[test]
    fn a_curve_shows_the_time_of_each_percentile() {
        let points = points(&distribution(&[(1000.0, 90), (2000.0, 9), (8000.0, 1)]));
        let at = |nines: f64| points.iter().find(|point| point.0 == nines).map(|point| point.1);
        assert_eq!(
            (at(0.0), at(1.0), at(1.05), at(2.0), at(2.05)),
            (Some(1.0), Some(1.0), Some(2.0), Some(2.0), None)
        );
    }

    #[test]
    fn the_axis_ends_at_a_tick() {
        for (time, below, above) in [(0.13, 0.1, 0.2), (0.7, 0.5, 1.0), (3.0, 2.0, 5.0), (10.0, 10.0, 10.0)] {
            assert!((step_below(time) / below - 1.0).abs() < 1e-9, "{time}");
            assert!((step_above(time) / above - 1.0).abs() < 1e-9, "{time}");
        }
    }
}
