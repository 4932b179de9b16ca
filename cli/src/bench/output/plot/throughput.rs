//! Messages a second by number of consumers, with the limits.

use kuva::plot::scatter::MarkerShape;
use kuva::prelude::{Layout, LegendPosition, LinePlot, Plot, ReferenceLine, ScatterPlot};

use super::{COLORS, Chart, layout, ticks};
use crate::bench::output::numbers;
use crate::bench::report::{Report, Run};
use crate::bench::statistics::{Spread, grouped};

const GROUP: &str = COLORS[0];
const SERVER: &str = COLORS[1];
const WORK: &str = COLORS[2];
const FAILED: &str = "#cf222e";

/// One number of consumers. The places on the axis are evenly spaced.
struct Point {
    place: f64,
    consumers: usize,
    rates: Spread,
    /// The rate that the work allows. NaN without work.
    work: f64,
    failed: bool,
}

/// `None` without a rate.
pub(super) fn chart(report: &Report) -> Option<Chart> {
    let points = points(report);
    if points.is_empty() {
        return None;
    }
    let plots = plots(&points);
    let floor = report.floor();
    // With work, all rates are far below the server's limit.
    let server = if report.work_limit.is_empty() { floor.rate } else { f64::NAN };
    let highest = points.iter().flat_map(|point| [point.rates.most, point.work]).fold(server, f64::max);
    let end = points.len() as f64 - 0.5;
    let names: Vec<_> = points.iter().map(|point| point.consumers.to_string()).collect();
    let name =
        move |place: f64| names.get(place as usize).filter(|_| place >= 0.0).cloned().unwrap_or_default();
    let layout = layout(&plots)
        .with_title("Throughput")
        .with_x_label("consumers")
        .with_y_label("messages/s (median, least to most)")
        .with_x_axis_min(-0.5)
        .with_x_axis_max(end)
        .with_x_tick_step(1.0)
        .with_x_tick_format(ticks(name))
        .with_y_axis_min(0.0)
        .with_y_axis_max(highest.max(1.0) * 1.1)
        .with_y_tick_format(ticks(numbers::short))
        .with_legend_position(LegendPosition::OutsideRightTop);
    Some(Chart { plots, layout: with_limit(layout, floor.name, server) })
}

fn points(report: &Report) -> Vec<Point> {
    let groups = grouped(&report.throughput, |run| run.consumers);
    let measured = groups.iter().map(|runs| (runs, runs.spread(Run::rate)));
    let measured = measured.filter(|(_, rates)| rates.least.is_finite() && rates.most.is_finite());
    let points = measured.enumerate().map(|(place, (runs, rates))| Point {
        place: place as f64,
        consumers: runs.key,
        rates,
        work: report.work_rate(runs.key),
        failed: !runs.is_flawless(),
    });
    points.collect()
}

/// The group's line, and further ones. A legend is only needed for several.
fn plots(points: &[Point]) -> Vec<Plot> {
    let medians: Vec<_> = points.iter().map(|point| (point.place, point.rates.median)).collect();
    let bars = points
        .iter()
        .map(|point| point.rates)
        .map(|rates| (rates.median - rates.least, rates.most - rates.median));
    let work = points.iter().map(|point| (point.place, point.work)).filter(|(_, rate)| rate.is_finite());
    let work: Vec<_> = work.collect();
    let failed = points.iter().zip(&medians).filter(|(point, _)| point.failed).map(|(_, median)| *median);
    let failed: Vec<_> = failed.collect();

    let mut group = LinePlot::new().with_data(medians.clone()).with_y_err_asymmetric(bars).with_color(GROUP);
    if !work.is_empty() || !failed.is_empty() {
        group = group.with_legend("group");
    }
    let dots = ScatterPlot::new().with_data(medians).with_color(GROUP).with_size(4.0);
    let mut plots: Vec<Plot> = vec![group.into(), dots.into()];
    if !work.is_empty() {
        let line = LinePlot::new().with_data(work).with_color(WORK).with_dashed();
        plots.push(line.with_legend("work's limit").into());
    }
    if !failed.is_empty() {
        let crosses = ScatterPlot::new().with_data(failed).with_color(FAILED).with_size(8.0);
        plots.push(crosses.with_marker(MarkerShape::Cross).with_legend("lost or duplicated").into());
    }
    plots
}

fn with_limit(layout: Layout, name: &str, server: f64) -> Layout {
    if !server.is_finite() {
        return layout;
    }
    let label = format!("{name}: {}", numbers::short((server / 1e3).round() * 1e3));
    layout.with_reference_line(
        ReferenceLine::horizontal(server).with_color(SERVER).with_stroke_width(1.5).with_label(label),
    )
}
