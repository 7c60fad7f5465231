//! A view on a screen of any size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row as TableRow, Table, TableState};

use super::view::{Mode, Row, View, connections};
use crate::control::api::{Rate, RealServer, State, Stats};

/// Above this width there is room for totals and health checks.
const WIDE: u16 = 110;

const HELP: &str = "\
arrows, Page, Home, End   select a line; so do k and j
s, S                      sort by the next column, the last one
r                         the other way round
/                         filter by name, address or state
Esc                       show all again
d                         drain: weight 0, no new connections
e                         enable: the weight from before d, or 1
q, Ctrl-C                 quit

Rates are IPVS's estimates, of the clients' direction.
Any key closes this.";

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let head = head(view);
    let rows = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let layout = Layout::vertical([
        Constraint::Length(rows),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ]);
    let [top, list, note, keys] = layout.areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    draw_list(frame, list, view);
    frame.render_widget(Paragraph::new(said(view)), note);
    let text = "q quit  ? help  s sort  r reverse  / filter  d drain  e enable";
    frame.render_widget(Paragraph::new(Line::styled(text, dim(view))), keys);
    if view.mode == Mode::Help {
        draw_help(frame);
    }
}

fn draw_help(frame: &mut Frame<'_>) {
    let (width, height) = (68, 13);
    let whole = frame.area();
    let area = Rect {
        x: whole.x + whole.width.saturating_sub(width) / 2,
        y: whole.y + whole.height.saturating_sub(height) / 2,
        width: width.min(whole.width),
        height: height.min(whole.height),
    };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" lb top ")), area);
}

/// What there is to know of the director.
fn head(view: &View) -> Vec<Line<'static>> {
    let title = Span::styled("lb top", Style::new().add_modifier(Modifier::BOLD));
    let Some(sample) = &view.sample else { return vec![Line::from(title), Line::from("")] };
    let (director, services) = (&sample.director, &sample.listed.virtual_servers);
    let servers = services.iter().flat_map(|service| &service.real_servers);
    let (all, up) =
        servers.fold((0, 0), |(all, up), server| (all + 1, up + u32::from(server.state == State::Up)));
    let mut first = vec![
        title,
        Span::raw(format!(
            "  {} {} XDP  {} virtual servers, {up} of {all} real servers up",
            director.interface,
            director.xdp_mode,
            services.len()
        )),
    ];
    for instance in &sample.vrrp.instances {
        let is_wrong = instance.split_brain.is_some() || instance.state == "fault";
        let style = if is_wrong { colour(view, Color::Red) } else { Style::new() };
        first.push(Span::styled(format!("  {}: {}", instance.name, instance.state), style));
    }
    let rate: Rate = services.iter().map(|service| service.rate).sum();
    let (active, inactive) =
        services.iter().map(connections).fold((0, 0), |(a, i), (more, less)| (a + more, i + less));
    let second = format!(
        "{} conn/s  {} packets/s  {}bit/s  {active} active, {inactive} inactive",
        short(rate.connections),
        short(rate.packets),
        short(8.0 * rate.bytes)
    );
    let tables = director.connection_tables.tables.iter().filter(|table| table.entries > 0);
    let tables = tables.map(|table| {
        format!("{} {:.1} %", table.table, 100.0 * table.entries as f64 / table.capacity.max(1) as f64)
    });
    let states = director.connection_tables.states.iter().filter(|(_, count)| **count > 0);
    let states = states.map(|(state, count)| format!("{} {state}", short(*count as f64)));
    let third = ["table:".to_owned()].into_iter().chain(tables).chain(states).collect::<Vec<_>>().join("  ");
    let mut lines = vec![Line::from(first), Line::from(second), Line::from(third)];
    let reasons = view.reasons.iter().map(|(name, rate)| format!("{name} {}/s", short(*rate)));
    let reasons = reasons.collect::<Vec<_>>().join("  ");
    lines.push(match reasons.as_str() {
        "" => Line::styled("no drops", dim(view)),
        reasons => Line::styled(reasons.to_owned(), colour(view, Color::Yellow)),
    });
    lines.push(Line::from(""));
    lines
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let is_wide = area.width >= WIDE;
    let mut headings = vec!["", "State", "Weight", "Active", "InAct", "Conn/s", "Pkt/s", "bit/s"];
    let mut widths = vec![10, 6, 7, 7, 6, 6, 6];
    if is_wide {
        headings.extend(["Conns", "Packets", "Bytes", "Check"]);
        widths.extend([6, 7, 7, 14]);
    }
    // A space before each but the first.
    let of_names = area.width.saturating_sub(widths.iter().map(|width| width + 1).sum());
    widths.insert(0, of_names);
    let mut cells: Vec<Line<'_>> = headings.iter().map(|heading| Line::from(*heading)).collect();
    cells[2..].iter_mut().take(9).for_each(|cell| *cell = cell.clone().right_aligned());
    let order = if view.is_reversed { ", reversed" } else { "" };
    cells[0] = Line::from(format!("by {}{order}", view.sort.name()));
    let heading = TableRow::new(cells).style(Style::new().add_modifier(Modifier::REVERSED));
    let rows = view.rows();
    let lines = rows.iter().map(|row| line(view, row, is_wide, of_names.into()));
    let table = Table::new(lines, widths.into_iter().map(Constraint::Length))
        .header(heading)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    // From the first line on, as far as the selected one can be seen.
    let mut state = TableState::default().with_selected(view.selected());
    frame.render_stateful_widget(table, area, &mut state);
}

fn line(view: &View, row: &Row<'_>, is_wide: bool, room: usize) -> TableRow<'static> {
    match row.server {
        Some(server) => server_line(view, server, row.is_sorry, is_wide, room),
        None => {
            let service = row.service;
            let name = match service.addresses.as_slice() {
                [] => service.name.clone(),
                [first, ..] => format!("{} {} {first}", service.name, service.protocol),
            };
            let (style, state) = if service.quorum {
                (Style::new(), service.scheduler.clone())
            } else {
                (colour(view, Color::Red), "no quorum".to_owned())
            };
            let mut cells = vec![Line::from(fitted(&name, room)), Line::styled(state, style), Line::from("")];
            cells.extend(numbers(connections(service), &service.rate));
            if is_wide {
                cells.extend(totals(&service.stats));
            }
            TableRow::new(cells).style(Style::new().add_modifier(Modifier::BOLD))
        }
    }
}

fn server_line(
    view: &View,
    server: &RealServer,
    is_sorry: bool,
    is_wide: bool,
    room: usize,
) -> TableRow<'static> {
    let style = match server.state {
        State::Up => colour(view, Color::Green),
        State::Down | State::Unresolved => colour(view, Color::Red),
        State::Draining => colour(view, Color::Yellow),
        State::Unknown => dim(view),
    };
    let (name, weight) = if is_sorry {
        (format!("  {} (sorry)", server.address), String::new())
    } else {
        (format!("  {}", server.address), server.weight.to_string())
    };
    let state = Line::styled(server.state.name(), style);
    let mut cells = vec![Line::from(fitted(&name, room)), state, Line::from(weight).right_aligned()];
    cells.extend(numbers((server.active_connections, server.inactive_connections), &server.rate));
    if is_wide {
        cells.extend(totals(&server.stats));
        cells.push(Line::from(checked(server)));
    }
    TableRow::new(cells)
}

fn numbers((active, inactive): (u64, u64), rate: &Rate) -> Vec<Line<'static>> {
    let rates = [rate.connections, rate.packets, 8.0 * rate.bytes].map(short);
    let all = [active.to_string(), inactive.to_string()].into_iter().chain(rates);
    all.map(|number| Line::from(number).right_aligned()).collect()
}

fn totals(stats: &Stats) -> [Line<'static>; 3] {
    let all = [stats.connections, stats.packets, stats.bytes];
    all.map(|count| Line::from(short(count as f64)).right_aligned())
}

/// What the last probe found.
fn checked(server: &RealServer) -> String {
    let Some(health) = &server.health else { return String::new() };
    match &health.last {
        None => health.state.name().to_owned(),
        Some(last) => match &last.error {
            Some(error) => error.clone(),
            None => format!("{:.1} ms", last.latency_ms),
        },
    }
}

/// The line above the keys: what is asked, what is wrong, what was done, what is left out.
fn said(view: &View) -> Line<'static> {
    match &view.mode {
        Mode::Filter => return Line::from(format!("filter: {}_", view.filter)),
        Mode::Confirm(order) => {
            let what = match order.weight {
                0 => format!("drain {} of {}", order.server, order.service),
                weight => format!("give {} of {} weight {weight}", order.server, order.service),
            };
            let text = format!("{what} (now {})? y/n", order.before);
            return Line::styled(text, Style::new().add_modifier(Modifier::BOLD));
        }
        Mode::Look | Mode::Help => {}
    }
    if let Some((reason, since)) = &view.gone {
        let text = format!("the daemon is gone for {} s, asking again: {reason}", since.as_secs());
        return Line::styled(text, colour(view, Color::Red));
    }
    match (&view.note, view.filter.as_str()) {
        (Some(note), _) => Line::from(note.clone()),
        (None, "") => Line::from(""),
        (None, filter) => Line::styled(format!("filter: {filter}  (Esc shows all)"), dim(view)),
    }
}

fn colour(view: &View, colour: Color) -> Style {
    if view.has_colour { Style::new().fg(colour) } else { Style::new() }
}

fn dim(view: &View) -> Style {
    if view.has_colour { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
}

/// A name that has room: of a longer one the begin and the end, by which addresses are told apart.
fn fitted(name: &str, room: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= room || room == 0 {
        return name.to_owned();
    }
    let (begin, end) = ((room - 1) / 2, room - 1 - (room - 1) / 2);
    let (begin, end) = (&letters[..begin], &letters[letters.len() - end..]);
    begin.iter().chain(&['…']).chain(end).collect()
}

/// A number in at most five places: `0`, `3.4`, `999`, `12.3k`, `1.2M`.
pub(super) fn short(number: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut number, mut unit) = (number, 0);
    while number >= 999.5 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1000.0, unit + 1);
    }
    let is_whole = number >= 99.95 || (unit == 0 && number.fract() == 0.0);
    let places = usize::from(!is_whole);
    format!("{number:.places$}{}", UNITS[unit])
}
