//! Stories of one director, event by event, and what it does: each reads as its snapshot.

use super::*;

/// A line is an event: `TIME EVENT`. The time is in milliseconds since the story began; whatever is due by then happens first.
const STORIES: &[(&str, &str)] = &[
    (
        "takeover of a dead master",
        "
        0 link up
        200 advert 150 192.0.2.11
        1200 advert 150 192.0.2.11
        12000 end",
    ),
    (
        "a master stops and comes back",
        "
        0 link up
        200 advert 150 192.0.2.11
        700 advert 0 192.0.2.11
        1000 advert 0 192.0.2.11
        9000 advert 150 192.0.2.11
        10000 advert 150 192.0.2.11
        11000 end",
    ),
    (
        "a split heals",
        "
        0 link up
        20000 advert 90 192.0.2.9
        20050 advert 90 192.0.2.9
        20900 advert 90 192.0.2.9
        27000 end",
    ),
    (
        "orderly shutdown",
        "
        0 link up
        4000 shutdown
        4600 advert 90 192.0.2.9
        5000 end",
    ),
    (
        "shutdown of a director that is alone",
        "
        0 link up
        4000 shutdown
        9000 end",
    ),
    (
        "a script with a weight then one without",
        "
        0 link up
        4000 track -30
        5000 track script /etc/lb/check.sh failed
        6000 advert 90 192.0.2.9
        7000 track 0
        7500 advert 90 192.0.2.9
        8500 advert 90 192.0.2.9
        9500 advert 90 192.0.2.9
        11000 end",
    ),
    (
        "held until it has the connections",
        "
        0 hold on
        0 link up
        500 advert 90 192.0.2.9
        1500 advert 90 192.0.2.9
        2000 hold off
        2500 advert 90 192.0.2.9
        3500 advert 90 192.0.2.9
        6000 end",
    ),
    (
        "the cable is pulled and put back",
        "
        0 link up
        4000 link down
        4500 advert 90 192.0.2.9
        10000 link up
        10100 advert 150 192.0.2.9
        11000 link down
        12000 link up
        16000 end",
    ),
    (
        "reload of a master then of a backup",
        "
        0 link up
        4000 reload 110
        5000 advert 150 192.0.2.11
        5500 reload 200
        6000 advert 150 192.0.2.11
        7000 advert 150 192.0.2.11
        8000 advert 150 192.0.2.11
        9500 end",
    ),
];

pub(super) fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// Tells a story: each event and each timer that did something, with what was done.
fn told(story: &str) -> String {
    let mut lab = Lab::new(parameters());
    let mut lines = Vec::new();
    for line in story.trim().lines().map(str::trim) {
        let (time, event) = line.split_once(' ').expect("a time");
        let at = lab.start + millis(time.parse().expect("milliseconds"));
        while lab.machine.poll_timeout().is_some_and(|next| next <= at) {
            lab.expire();
            tell(&mut lab, "", &mut lines);
        }
        lab.now = at;
        happen(&mut lab, event);
        tell(&mut lab, event, &mut lines);
    }
    lines.join("\n")
}

fn tell(lab: &mut Lab, event: &str, lines: &mut Vec<String>) {
    let actions = lab.actions().join("; ");
    let line = format!("{:9.3}  {event:<40}  {actions}", (lab.now - lab.start).as_secs_f64());
    lines.push(line.trim_end().to_owned());
}

fn happen(lab: &mut Lab, event: &str) {
    let now = lab.now;
    let (name, rest) = event.split_once(' ').unwrap_or((event, ""));
    match (name, rest) {
        ("link", "up") => lab.machine.handle_link(UP, now),
        ("link", "down") => lab.machine.handle_link(DOWN, now),
        ("hold", state) => lab.machine.handle_hold(state == "on", now),
        ("track", what) => match what.parse() {
            Ok(sum) => lab.track(weight(sum)),
            Err(_) => lab.track(failed(what)),
        },
        ("advert", rest) => {
            let (priority, from) = rest.split_once(' ').expect("a priority and an address");
            lab.advert(priority.parse().expect("a priority"), from.parse().expect("an address"));
        }
        ("reload", priority) => {
            let priority = priority.parse().expect("a priority");
            lab.machine.reconfigure(Parameters { priority, ..parameters() }, now);
        }
        ("shutdown", _) => lab.machine.handle_shutdown(now),
        ("end", _) => {}
        _ => panic!("{event}"),
    }
}

#[test]
fn each_story_reads_as_its_snapshot() {
    snapshots().bind(|| {
        for (name, story) in STORIES {
            insta::assert_snapshot!(name.replace(' ', "-"), told(story));
        }
    });
}
