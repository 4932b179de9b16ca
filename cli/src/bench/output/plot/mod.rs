//! Charts as SVG: throughput by number of consumers, and the distribution of latency.

mod latency;
mod throughput;

use std::sync::Arc;

use anyhow::bail;
use kuva::prelude::{Figure, Layout, Plot, SvgBackend, Theme, TickFormat};

use super::heading::machine;
use crate::bench::report::Report;
use crate::printable::printable;

/// One chart: what is drawn, and its axes.
struct Chart {
    plots: Vec<Plot>,
    layout: Layout,
}

/// Dark enough for a white background, and distinct for color-blind readers (Okabe and Ito).
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9"];

const INK: &str = "#24292f";
const FAINT: &str = "#6e7781";

/// Width and height of one chart.
const SIZE: (f64, f64) = (600.0, 420.0);

/// An SVG document with one or two charts.
///
/// # Errors
///
/// Neither throughput nor latency was measured.
pub(crate) fn plot(report: &Report) -> anyhow::Result<String> {
    let charts: Vec<_> = [throughput::chart(report), latency::chart(report)].into_iter().flatten().collect();
    if charts.is_empty() {
        bail!("there is nothing to plot: neither throughput nor latency was measured; add them to --only");
    }
    let title = title(report);
    // A character is about 0.6 of its size wide.
    let size = SIZE.0 * charts.len() as f64 * 0.95 / (0.6 * title.chars().count() as f64);
    let (plots, layouts): (Vec<_>, Vec<_>) =
        charts.into_iter().map(|chart| (chart.plots, chart.layout)).unzip();
    let figure = Figure::new(1, plots.len())
        .with_title(label(&title))
        .with_title_size(size.clamp(9.0, 18.0) as u32)
        .with_cell_size(SIZE.0, SIZE.1)
        .with_spacing(20.0)
        .with_plots(plots)
        .with_layouts(layouts);
    Ok(SvgBackend::new().render_scene(&figure.render()))
}

fn title(report: &Report) -> String {
    format!(
        "redis-consumer-group {} · {} · {}",
        printable(&report.version),
        printable(&report.server.version),
        machine(report)
    )
}

/// The common style of both charts. The background is white on dark pages too.
fn layout(plots: &[Plot]) -> Layout {
    let theme = Theme {
        axis_color: FAINT.into(),
        tick_color: INK.into(),
        text_color: INK.into(),
        grid_color: "#e6e8eb".into(),
        legend_border: "#d0d7de".into(),
        ..Theme::light()
    };
    Layout::auto_from_plots(plots)
        .with_theme(theme)
        .with_title_size(15)
        .with_label_size(13)
        .with_tick_size(11)
}

fn ticks(text: impl Fn(f64) -> String + Send + Sync + 'static) -> TickFormat {
    TickFormat::Custom(Arc::new(text))
}

/// Escapes a text for the plot library, which reads text between dollars as mathematics.
fn label(text: &str) -> String {
    text.replace('$', "\\$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    /// The texts of a document that is well-formed.
    fn texts(svg: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(svg).expect("well-formed XML");
        assert_eq!(document.root_element().tag_name().name(), "svg");
        let texts = document.descendants().filter(|node| node.is_text()).filter_map(|node| node.text());
        texts.map(str::to_owned).collect()
    }

    #[test]
    fn both_charts_have_their_labels() {
        let texts = texts(&plot(&sample::report()).expect("two charts"));
        for label in [
            "redis-consumer-group 0.1.0 · Redis 7.0.15 · AMD EPYC 7B13 64-Core Processor, 4 cores",
            "Throughput",
            "consumers",
            "16",
            "server's limit: 330 k",
            "100 k",
            "lost or duplicated",
            "Latency",
            "percentile",
            "99.99 %",
            "10 k",
            "400 k: missed",
        ] {
            assert!(texts.iter().any(|text| text == label), "{label:?} is not in {texts:?}");
        }
    }

    #[test]
    fn without_latency_there_is_one_chart() {
        let texts = texts(&plot(&sample::with_work()).expect("a chart"));
        assert!(texts.iter().any(|text| text == "Throughput"));
        assert!(texts.iter().any(|text| text.contains("work's limit")), "{texts:?}");
        assert!(texts.iter().all(|text| text != "Latency"));
    }

    #[test]
    fn texts_from_outside_are_escaped() {
        let mut report = sample::report();
        report.machine.cpu = "<script>&\"$x_1$ \u{1b}".to_owned();
        let texts = texts(&plot(&report).expect("two charts"));
        assert!(texts.iter().any(|text| text.contains("<script>&\"$x_1$ \\u{1b}")), "{texts:?}");
    }

    #[test]
    fn nothing_measured_is_an_error() {
        assert!(plot(&sample::empty()).is_err());
        // Neither a median nor a time in it is a number.
        assert!(plot(&sample::broken()).is_err());
    }
}
