//! The report on a terminal, at most 100 columns wide.

use std::fmt;

use lb_userspace::scheduler;

use crate::cases::{Group, grouped};
use crate::report::{Report, Row};
use crate::setting::SERVERS;

/// Width of the rows' labels.
const LABEL: usize = 42;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "Nanoseconds per frame (BPF_PROG_TEST_RUN): the least of {} rounds, all rows in turn.",
            self.rounds
        )?;
        for group in Group::ALL {
            match group {
                Group::NewFlow => new_flows(self, f)?,
                _ => group_of_rows(self, group, f)?,
            }
        }
        live(self, f)?;
        beside(self, f)?;
        sweeping(self, f)?;
        failover(self, f)?;
        memory(self, f)?;
        goals(self, f)
    }
}

fn group_of_rows(report: &Report, group: Group, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.of(group).next().is_none() {
        return Ok(());
    }
    let of = if group == Group::Against { "of ours" } else { "of ref." };
    writeln!(f, "\n{:<LABEL$} {:>5} {:>7} {:>9} {of:>8}", group.title(), "ns", "median", "above")?;
    for row in report.of(group) {
        let Row { label, nanoseconds, .. } = row;
        let share = row.of_reference.map(|share| format!("{share:.2}")).unwrap_or_default();
        let (least, median, above) = (nanoseconds.least, nanoseconds.median, signed(row.above));
        let line = format!("  {label:<40} {least:>5} {median:>7} {above:>9} {share:>8}");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A line for each scheduler, a column for each number of real servers.
fn new_flows(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.of(Group::NewFlow).next().is_none() {
        return Ok(());
    }
    write!(f, "\n{:<LABEL$}", "New flow, ns above, by number of servers")?;
    for servers in SERVERS {
        write!(f, " {servers:>7}")?;
    }
    writeln!(f)?;
    for scheduler in scheduler::ALL {
        let rows = SERVERS.map(|servers| report.new_flow(scheduler.name(), servers));
        if rows.iter().all(Option::is_none) {
            continue;
        }
        write!(f, "  {:<40}", scheduler.name())?;
        for row in rows {
            write!(f, " {:>7}", signed(row.and_then(|row| row.above)))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn live(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.live.is_empty() {
        return Ok(());
    }
    let title = "Through a veth pair and back, one core";
    writeln!(
        f,
        "\n{title:<LABEL$} {:>9} {:>6} {:>7} {:>8} {:>6}",
        "flows", "Mpps", "median", "ns (bpf)", "lost"
    )?;
    for live in &report.live {
        let (most, median) = (live.frames_per_second / 1e6, live.median / 1e6);
        writeln!(
            f,
            "  {:<40} {:>9} {most:>6.2} {median:>7.2} {:>8.0} {:>6}",
            live.label,
            grouped(live.flows),
            live.nanoseconds,
            live.lost
        )?;
    }
    Ok(())
}

fn beside(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.beside.is_empty() {
        return Ok(());
    }
    let title = "Established frames, each after a flood's";
    writeln!(
        f,
        "\n{title:<LABEL$} {:>6} {:>6} {:>6} {:>8} {:>7}",
        "alone", "beside", "fewer", "flood's", "evicted"
    )?;
    for row in &report.beside {
        let fewer = format!("{:.0}%", row.fewer * 100.0);
        writeln!(
            f,
            "  {:<40} {:>6.0} {:>6.0} {fewer:>6} {:>8.0} {:>7}",
            row.label, row.alone, row.beside, row.flood, row.evicted
        )?;
    }
    Ok(())
}

fn sweeping(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.sweeping.is_empty() {
        return Ok(());
    }
    let title = "A sweep of 1,048,576 entries";
    writeln!(
        f,
        "\n{title:<LABEL$} {:>9} {:>7} {:>7} {:>10} {:>5}",
        "freed", "ms", "share", "ns meanw.", "alone"
    )?;
    for row in &report.sweeping {
        let share = format!("{:.1}%", row.share * 100.0);
        writeln!(
            f,
            "  {:<40} {:>9} {:>7.0} {share:>7} {:>10} {:>5}",
            row.label, row.freed, row.milliseconds, row.forwarding, row.undisturbed
        )?;
    }
    Ok(())
}

fn failover(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.failover.is_empty() {
        return Ok(());
    }
    let title = "How long a client is without answers, ms";
    writeln!(f, "\n{title:<LABEL$} {:>7} {:>7} {:>5}", "median", "worst", "runs")?;
    for row in &report.failover {
        writeln!(f, "  {:<40} {:>7.0} {:>7.0} {:>5}", row.label, row.median, row.worst, row.runs)?;
    }
    Ok(())
}

fn memory(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.memory.is_empty() {
        return Ok(());
    }
    let title = "Memory of the connection tables";
    writeln!(f, "\n{title:<LABEL$} {:>11} {:>7} {:>14}", "connections", "MiB", "bytes for each")?;
    for memory in &report.memory {
        let mebibytes = memory.bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "  {:<40} {:>11} {mebibytes:>7.1} {:>14.1}",
            memory.label,
            grouped(memory.connections),
            memory.per_connection
        )?;
    }
    Ok(())
}

fn goals(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.goals.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nGoals")?;
    for goal in &report.goals {
        let mark = if goal.reached { "reached" } else { "MISSED" };
        writeln!(f, "  {mark:<8} {:<62} {:>7.2} of {:.2}", goal.text, goal.value, goal.limit)?;
    }
    Ok(())
}

fn signed(above: Option<i64>) -> String {
    above.map(|above| format!("{above:+}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

    #[test]
    fn the_whole_table_fits_a_terminal() {
        let text = report(&[], true).to_string();
        let too_wide = text.lines().find(|line| line.chars().count() > 100);
        assert_eq!(too_wide, None);
    }

    #[test]
    fn a_few_rows_make_a_short_table() {
        let mut report = report(&["unusual/vlan", "new/rr"], false);
        report.live.truncate(2);
        assert_eq!((report.beside.len(), report.sweeping.len()), (1, 1));
        insta::assert_snapshot!(report.to_string());
    }
}
