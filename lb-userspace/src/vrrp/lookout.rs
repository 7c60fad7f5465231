//! Looks for a split brain: somebody who has the virtual addresses too, and whose adverts do not arrive.
//!
//! Adverts alone cannot tell: two masters that do not hear each other are each sure to be the only one. So every director
//! asks its segment now and then who has the addresses (ARP probes, RFC 5227, section 2.1.1; neighbour solicitations).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use macaddr::MacAddr6;

use super::driver::Order;
use super::handle::Handle;
use super::machine::State;
use super::status::RouterStatus;
use crate::net::segment::{Asker, Heard, Probe, Question};
use crate::net::{Netlink, mac_text};

/// How often is asked.
const PERIOD: Duration = Duration::from_secs(10);
/// How many times in a row somebody has to answer: while one takes over from the other, both may.
const IN_A_ROW: u32 = 2;

/// Asks until the daemon ends.
pub async fn look_out(netlink: Netlink, handle: Handle) {
    // How many times in a row somebody has answered.
    let mut seen: HashMap<String, u32> = HashMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let links = netlink.links().await.unwrap_or_default();
        // A host answers for its addresses on every interface (arp_ignore 0).
        let own: Vec<MacAddr6> = links.iter().filter_map(|link| link.mac).collect();
        for router in handle.statuses().await {
            let name = router.config.name.clone();
            let link = links.iter().find(|link| link.name == *router.config.interface.value);
            let found = match link.and_then(|link| Some((link.index, link.mac?))) {
                Some((index, mac)) => ask(router, index, mac, own.clone()).await,
                None => None,
            };
            let before = seen.get(&name).copied().unwrap_or_default();
            let times = if found.is_some() { before.saturating_add(1) } else { 0 };
            seen.insert(name.clone(), times);
            handle.order(Order::Split { instance: name, found: found.filter(|_| times >= IN_A_ROW) });
        }
    }
}

/// Who has the addresses of a virtual router that should not, as a sentence.
async fn ask(router: RouterStatus, index: u32, mac: MacAddr6, own: Vec<MacAddr6>) -> Option<String> {
    let state = router.status.state;
    if !matches!(state, State::Master | State::Backup) {
        return None;
    }
    let addresses: Vec<IpAddr> = router.config.virtual_addresses.iter().map(|found| found.address).collect();
    let master = router.status.master.filter(|_| state == State::Backup).map(|master| master.address);
    let (v4, v6) = match router.source? {
        IpAddr::V4(source) => (Some(source), None),
        IpAddr::V6(source) => (None, Some(source)),
    };
    let asker = Asker { mac, v4, v6 };
    let asked = addresses.clone();
    let heard = tokio::task::spawn_blocking(move || -> io::Result<Vec<Vec<Heard>>> {
        let who_has = |address, is_vip| Question::WhoHas { address, at: None, is_vip };
        let mut questions: Vec<Question> = asked.into_iter().map(|address| who_has(address, true)).collect();
        questions.extend(master.map(|address| who_has(address, false)));
        Probe::open(index, asker, own)?.ask(&questions)
    });
    let mut heard: Vec<BTreeSet<MacAddr6>> = match heard.await {
        Ok(Ok(heard)) => {
            heard.into_iter().map(|heard| heard.into_iter().map(|heard| heard.mac).collect()).collect()
        }
        Ok(Err(error)) => {
            tracing::debug!("{}: ask who has its addresses: {error}", router.config.name);
            return None;
        }
        Err(_) => return None,
    };
    let masters = master.and_then(|_| heard.pop());
    judge(router.config.virtual_router_id, &addresses, &heard, masters.as_ref())
}

/// `heard` says for each address at which MACs others say that it is; `masters`, of a backup, where the master is.
fn judge(
    vrid: u8,
    addresses: &[IpAddr],
    heard: &[BTreeSet<MacAddr6>],
    masters: Option<&BTreeSet<MacAddr6>>,
) -> Option<String> {
    // A virtual MAC (RFC 9568, section 7.3) is at the master, wherever that is.
    let is_virtual = |mac: &MacAddr6| {
        let mac = mac.into_array();
        mac[..4] == [0, 0, 0x5e, 0] && mac[5] == vrid
    };
    let is_right = |mac: &MacAddr6| masters.is_some_and(|masters| masters.contains(mac) || is_virtual(mac));
    // Of a master that does not answer for its own address, nobody knows where it is.
    if masters.is_some_and(BTreeSet::is_empty) {
        return None;
    }
    let wrong = addresses.iter().zip(heard).find_map(|(address, macs)| {
        let wrong: Vec<String> = macs.iter().filter(|mac| !is_right(mac)).map(|mac| mac_text(*mac)).collect();
        (!wrong.is_empty()).then(|| (address, wrong.join(", ")))
    });
    wrong.map(|(address, macs)| {
        format!(
            "{macs} says that it has {address}, and sends no adverts that arrive here: another master (do adverts get through, \
             with the same virtual_router_id, version and password?), or a real server that answers for the VIP (`lb real-server up`)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macs(last: &[u8]) -> BTreeSet<MacAddr6> {
        last.iter().map(|last| MacAddr6::new(2, 0, 0, 0, 0, *last)).collect()
    }

    #[test]
    fn whoever_has_an_address_and_is_not_the_master_is_told_of() {
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().expect("an address"));
        let judge = |heard: &[BTreeSet<MacAddr6>], masters: Option<&BTreeSet<MacAddr6>>| {
            judge(51, &addresses, heard, masters)
        };
        assert_eq!(judge(&[macs(&[]), macs(&[])], None), None, "a master, and nobody else");
        let found = judge(&[macs(&[]), macs(&[7])], None).expect("somebody else has it");
        assert!(found.starts_with("02:00:00:00:00:07 says that it has 192.0.2.2"), "{found}");
        let master = macs(&[5]);
        assert_eq!(
            judge(&[macs(&[5]), macs(&[5])], Some(&master)),
            None,
            "a backup, and the master has them"
        );
        assert!(judge(&[macs(&[5, 6]), macs(&[5])], Some(&master)).is_some(), "and somebody else");
        assert_eq!(
            judge(&[macs(&[6]), macs(&[6])], Some(&macs(&[]))),
            None,
            "nobody knows where the master is"
        );
        let virtual_mac = BTreeSet::from([MacAddr6::new(0, 0, 0x5e, 0, 1, 51)]);
        assert_eq!(judge(&[virtual_mac.clone(), macs(&[])], Some(&master)), None, "keepalived's use_vmac");
        assert!(judge(&[virtual_mac, macs(&[])], None).is_some(), "but this director is the master");
    }
}
