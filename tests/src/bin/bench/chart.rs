//! The report as a picture: bars, a panel for each group.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use lb_userspace::scheduler;

use crate::Result;
use crate::cases::{Group, grouped};
use crate::report::{Report, Row};

const WIDTH: u32 = 880;
/// Above the first panel: the machine.
const HEAD: u32 = 62;
/// A panel's title and axis.
const PANEL: u32 = 74;
const BAR: u32 = 21;
/// Room for the bars' names.
const NAMES: u32 = 320;
/// Room right of the longest bar for its figure.
const ROOM: f64 = 1.08;
const MARGIN: i32 = 20;

const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const OURS_PALE: RGBColor = RGBColor(0x8f, 0xbc, 0xdf);
const REFERENCE: RGBColor = RGBColor(0xd9, 0x82, 0x2b);
const FLOOR: RGBColor = RGBColor(0x8c, 0x8c, 0x8c);
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// Bars that share an axis.
struct Panel {
    title: &'static str,
    bars: Vec<Bar>,
    /// Digits behind the point.
    digits: usize,
}

struct Bar {
    name: String,
    value: f64,
    colour: RGBColor,
}

/// The picture as SVG.
pub(crate) fn svg(report: &Report) -> Result<String> {
    let panels: Vec<Panel> = panels(report).into_iter().filter(|panel| !panel.bars.is_empty()).collect();
    let heights: Vec<u32> = panels.iter().map(Panel::height).collect();
    let height = HEAD + heights.iter().sum::<u32>();
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let description = report.machine.to_string();
        for (line, y) in description.lines().zip([14, 34]) {
            root.draw_text(line, &("sans-serif", 14).into_font().color(&INK), (MARGIN, y))?;
        }
        let mut top = HEAD;
        for (panel, height) in panels.iter().zip(heights) {
            let area = root.clone().shrink((0, top), (WIDTH, height));
            panel.draw(&area)?;
            top += height;
        }
        root.present()?;
    }
    Ok(text)
}

fn panels(report: &Report) -> Vec<Panel> {
    let bar = |row: &Row| {
        let colour = match row.id.as_str() {
            id if id.contains("reference") => REFERENCE,
            id if id.starts_with("flows/line") => FLOOR,
            _ => OURS,
        };
        Some(Bar { name: row.label.clone(), value: row.above? as f64, colour })
    };
    let one_flow = [Group::Established, Group::Unusual, Group::Others].into_iter();
    let of = |group| report.of(group).filter_map(bar);
    vec![
        Panel::of_nanoseconds("One flow: ns above the empty program", one_flow.flat_map(of).collect()),
        Panel::of_nanoseconds("Many flows: ns above the empty program", of(Group::Flows).collect()),
        Panel::of_nanoseconds("New flow: ns above the empty program", new_flows(report)),
        Panel::of_nanoseconds("Flood of new sources: ns above the empty program", of(Group::Flood).collect()),
        Panel {
            title: "Through a veth pair and back: million frames per second, one core",
            bars: live(report),
            digits: 2,
        },
    ]
}

/// For each scheduler the bar of few real servers and, paler, that of many.
fn new_flows(report: &Report) -> Vec<Bar> {
    let bar = |scheduler: &str, servers: u32, colour| {
        let value = report.new_flow(scheduler, servers)?.above? as f64;
        Some(Bar { name: format!("{scheduler}, {servers} real servers"), value, colour })
    };
    let bars = |scheduler: scheduler::Scheduler| {
        [bar(scheduler.name(), 16, OURS), bar(scheduler.name(), 1024, OURS_PALE)]
    };
    scheduler::ALL.into_iter().flat_map(bars).flatten().collect()
}

fn live(report: &Report) -> Vec<Bar> {
    let bar = |live: &crate::live::Live| Bar {
        name: format!(
            "{}, {} flow{}",
            live.label,
            grouped(live.flows),
            if live.flows == 1 { "" } else { "s" }
        ),
        value: live.frames_per_second / 1e6,
        colour: match live.label.as_str() {
            "lb" => OURS,
            "MAC swap" => FLOOR,
            _ => REFERENCE,
        },
    };
    report.live.iter().map(bar).collect()
}

impl Panel {
    fn of_nanoseconds(title: &'static str, bars: Vec<Bar>) -> Self {
        Self { title, bars, digits: 0 }
    }

    fn height(&self) -> u32 {
        PANEL + BAR * u32::try_from(self.bars.len()).unwrap_or(u32::MAX / BAR)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<()> {
        let longest = self.bars.iter().map(|bar| bar.value).fold(1.0, f64::max);
        let rows = self.bars.len() as f64;
        let title = ("sans-serif", 17).into_font().style(FontStyle::Bold).color(&INK);
        area.draw_text(self.title, &title, (MARGIN, 10))?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(36)
            .margin_right(MARGIN)
            .set_label_area_size(LabelAreaPosition::Left, NAMES)
            .set_label_area_size(LabelAreaPosition::Bottom, 24)
            // The first bar is on top.
            .build_cartesian_2d(0.0..longest * ROOM, rows..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(8)
            .x_label_formatter(&|value| format!("{:.*}", self.digits.min(1), value))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .draw()?;
        let bars = self.bars.iter().enumerate().map(|(i, bar)| {
            let top = i as f64;
            Rectangle::new([(0.0, top + 0.15), (bar.value.max(0.0), top + 0.85)], bar.colour.filled())
        });
        chart.draw_series(bars)?;
        let plotted = chart.plotting_area().strip_coord_spec();
        let origin = plotted.get_base_pixel();
        let whole = area.get_base_pixel();
        let (left, top) = (origin.0 - whole.0, origin.1 - whole.1);
        for (i, bar) in self.bars.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(bar.value.max(0.0), i as f64 + 0.5));
            let (x, y) = (x - whole.0, y - whole.1);
            debug_assert!(x >= left && y >= top, "a bar begins on the axis");
            let name = ("sans-serif", 13).into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw_text(&bar.name, &name, (left - 8, y))?;
            let value = ("sans-serif", 13).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw_text(&format!("{:.*}", self.digits, bar.value), &value, (x + 5, y))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::svg;
    use crate::report::tests::report;
    use lb_userspace::scheduler;

    #[test]
    fn every_panel_and_scheduler_is_in_the_picture() {
        let picture = svg(&report(&[], false)).unwrap();
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        let shown = |text: &str| picture.contains(&format!("\n{text}\n"));
        for title in ["One flow: ns above the empty program", "IPv4, 65,536 flows", "lb, 1 flow", "3.90"] {
            assert!(shown(title), "{title}");
        }
        for scheduler in scheduler::ALL {
            assert!(shown(&format!("{scheduler}, 1024 real servers")), "{scheduler}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_panel() {
        let mut report = report(&["established/ipv4"], false);
        report.live.clear();
        let picture = svg(&report).unwrap();
        assert!(picture.contains("One flow") && !picture.contains("Many flows"), "{picture}");
        assert!(!picture.contains("veth"));
    }
}
