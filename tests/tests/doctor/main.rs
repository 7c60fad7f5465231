//! `lb doctor` in labs where something is wrong. Twelve faults are planted, one in a test: each is found, as the only one;
//! the command that the doctor proposes is run word for word on the machine that it names; then the doctor is content.
//!
//! | fault | code |
//! |---|---|
//! | a real server without arp_ignore | arp-answers-vip |
//! | a real server with an IPv6 VIP on its interface | arp-answers-vip |
//! | a real server without the VIP | vip-not-accepted |
//! | a real server with a smaller MTU | mtu-mismatch |
//! | a real server with another one's MAC | duplicate-mac |
//! | a VIP that nobody has, where lb does not manage it | vip |
//! | the director's interface is down | link-down |
//! | another XDP program, attached by a link | xdp-foreign |
//! | another XDP program, attached by netlink | xdp-foreign |
//! | a strict reverse path filter on one of two networks | rp-filter |
//! | a NIC that removes VLAN tags, and is left to | vlan-offload |
//! | no bpffs where pins are to be | bpffs |

#![expect(clippy::expect_used, reason = "a test that is surprised fails")]

mod clinic;
mod director;
mod real_servers;
