//! Direct routing: one request, followed on the cables.

use std::net::Ipv4Addr;

use lb_lab::{Captured, Direction, Lab, Mac, Result};
use serde::Serialize;

use crate::scene::{PATIENCE, Scene};
use crate::screen::Screen;

/// Where MACs and IPv4 addresses are in a frame.
const TO_MAC: std::ops::Range<usize> = 0..6;
const FROM_MAC: std::ops::Range<usize> = 6..12;
const FROM: std::ops::Range<usize> = 26..30;
const TO: std::ops::Range<usize> = 30..34;

/// What was seen of one request and its answer.
#[derive(Debug, Serialize)]
pub(crate) struct Journey {
    vip: Ipv4Addr,
    real_server: String,
    steps: Vec<Step>,
    answers_through_director: usize,
    pub(crate) as_expected: bool,
}

/// The first frame that was seen at one place.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Step {
    what: String,
    from_mac: String,
    to_mac: String,
    from: Ipv4Addr,
    to: Ipv4Addr,
}

/// Sends a request and looks at the client's cable, the real server's and the director's.
pub(crate) fn follow_one_request(scene: &Scene) -> Result<Journey> {
    let (lab, vip) = (scene.lab(), scene.rr());
    let (client, director) = (lab.client(), lab.director());
    let at_client = client.capture_if(either_way(vip))?;
    let at_director = lab.switch().capture_if(&director, either_way(vip))?;
    let at_servers =
        lab.real_servers().into_iter().map(|server| lab.switch().capture_if(&server, either_way(vip)));
    let at_servers = at_servers.collect::<Result<Vec<_>>>()?;

    let real_server = scene.ask(client.address(), vip)?;
    let server = lab.host(&real_server);
    let chosen = lab.real_servers().iter().position(|host| host.name() == real_server).unwrap_or_default();
    let sent = at_client.wait_for(PATIENCE, |frame| frame.direction == Direction::Out)?;
    let received = at_servers[chosen].wait_for(PATIENCE, |frame| frame.direction == Direction::Out)?;
    let answer = at_client.wait_for(PATIENCE, |frame| frame.direction == Direction::In)?;
    let seen = at_director.finish()?;
    let answers_through_director = seen.iter().filter(|frame| address(frame, FROM) == vip).count();

    let step = |what: &str, frame: &Captured| Step::of(lab, what, frame);
    let steps = vec![
        step("client sends", &sent),
        step(&format!("{real_server} receives"), &received),
        step("client receives", &answer),
    ];
    let expected = [
        (client.mac(), director.mac(), client.address(), vip),
        (director.mac(), server.mac(), client.address(), vip),
        (server.mac(), client.mac(), vip, client.address()),
    ];
    let as_seen = |frame: &Captured| {
        (mac(frame, FROM_MAC), mac(frame, TO_MAC), address(frame, FROM), address(frame, TO))
    };
    let as_expected = [&sent, &received, &answer].map(as_seen) == expected && answers_through_director == 0;
    Ok(Journey { vip, real_server, steps, answers_through_director, as_expected })
}

impl Journey {
    pub(crate) fn show(&self, screen: &Screen) {
        screen.heading("Direct routing: one more request, as seen on the cables");
        let [macs, addresses] = ["Ethernet", "IPv4"];
        screen.line(screen.dim(&format!("    {:<17} {macs:<24} {addresses}", "")));
        for step in &self.steps {
            let macs = format!("{} → {}", step.from_mac, step.to_mac);
            screen.line(format!("    {:<17} {macs:<24} {} → {}", step.what, step.from, step.to));
        }
        let answers = match self.answers_through_director {
            0 => "none of the answer went through the director".into(),
            count => format!("frames of the answer through the director: {count}"),
        };
        let server = &self.real_server;
        let saw = format!("{server} saw the client's own address, the client saw the VIP;");
        screen.verdict(self.as_expected, &format!("{saw}\n    {answers}"));
    }
}

impl Step {
    fn of(lab: &Lab, what: &str, frame: &Captured) -> Self {
        // The hosts' names tell more than their MACs, which the picture has.
        let name = |mac: Mac| {
            let host = lab.hosts().into_iter().find(|host| host.mac() == mac);
            host.map_or_else(|| mac.to_string(), |host| host.name().to_owned())
        };
        Self {
            what: what.into(),
            from_mac: name(mac(frame, FROM_MAC)),
            to_mac: name(mac(frame, TO_MAC)),
            from: address(frame, FROM),
            to: address(frame, TO),
        }
    }
}

/// IPv4 frames from or to the VIP.
fn either_way(vip: Ipv4Addr) -> impl Fn(Direction, &[u8]) -> bool + Send + 'static {
    let vip = vip.octets();
    move |_, frame| {
        frame.len() >= TO.end && frame[12..14] == [8, 0] && (frame[FROM] == vip || frame[TO] == vip)
    }
}

fn mac(frame: &Captured, at: std::ops::Range<usize>) -> Mac {
    let mut bytes = [0; 6];
    bytes.copy_from_slice(&frame.bytes[at]);
    Mac(bytes)
}

fn address(frame: &Captured, at: std::ops::Range<usize>) -> Ipv4Addr {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&frame.bytes[at]);
    bytes.into()
}
