//! Cost and loss over the rate, for people who would rather look.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

/// A line of a plot.
#[derive(Clone, Debug)]
pub struct Curve {
    /// For the legend.
    pub name: String,
    /// Lines a second, and what is shown.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (960, 420);
const FONT: &str = "sans-serif";

/// Colours that people of all eyes tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(128, 128, 128),
];

/// Draws microseconds of CPU a line on the left and per cent lost on the right.
pub fn draw(path: &Path, cost: &[Curve], loss: &[Curve]) -> Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let draw = || -> Result<(), DrawingError> {
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        panel(&left, "CPU a line, µs", cost)?;
        panel(&right, "lines lost, %", loss)?;
        area.present()
    };
    draw()
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| path.display().to_string())
}

type DrawingError = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn panel(area: &Area<'_>, title: &str, curves: &[Curve]) -> Result<(), DrawingError> {
    let most = |of: fn(&(f64, f64)) -> f64, least: f64| {
        let points = curves.iter().flat_map(|curve| &curve.points);
        points.map(of).fold(least, f64::max) * 1.05
    };
    let (rate_max, value_max) = (most(|point| point.0, 1.0), most(|point| point.1, 1.0));
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..rate_max, 0.0..value_max)?;
    chart
        .configure_mesh()
        .x_desc("lines/s")
        .x_label_formatter(&|rate| format!("{:.0}k", rate / 1e3))
        .y_label_formatter(&|value| format!("{value:.1}"))
        .x_labels(6)
        .y_labels(8)
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style((FONT, 13))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let points = || curve.points.iter().copied();
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(curve.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        let dots = points().map(|point| Circle::new(point, 3, colour.filled()));
        chart.draw_series(dots)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 13))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_curves() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plot.svg");
        let curve = |name: &str, points: &[(f64, f64)]| Curve {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        let cost = [curve("one", &[(5e3, 3.0), (1e5, 0.5)]), curve("two", &[])];
        draw(&path, &cost, &[curve("one", &[(5e3, 0.0)])]).expect("drawn");
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        for word in ["one", "two", "lines lost", "CPU a line"] {
            assert!(text.contains(word), "{word}");
        }
        assert!(draw(&dir.path().join("none/x.svg"), &cost, &[]).is_err());
    }
}
