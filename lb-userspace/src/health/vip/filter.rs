//! Which frames the kernel is to copy to us: what may answer a probe. Classic BPF; a busy host's other frames cost a few
//! comparisons each.

use lb_common::probe::FIRST_PORT;
use socket2::SockFilter;

use crate::net::filter_code as code;

/// The filter of a packet socket on whole frames: those to this host, in one piece, to a port of ours, and errors of ICMP.
pub(super) fn answers() -> Vec<SockFilter> {
    instructions()
        .into_iter()
        .map(|Instruction { code, yes, no, value }| SockFilter::new(code, yes, no, value))
        .collect()
}

#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u16,
    /// How many instructions to skip if the comparison holds ...
    yes: u8,
    /// ... and if not.
    no: u8,
    value: u32,
}

/// `SKF_AD_OFF + SKF_AD_PKTTYPE` (linux/filter.h).
const PACKET_TYPE: u32 = (-0x1000_i32 + 4).cast_unsigned();
/// `PACKET_HOST` (linux/if_packet.h): what arrived for this host.
const FOR_US: u32 = 0;
const ETHERNET: u32 = 14;
const ALL: u32 = 0x4_0000;

// Where the parts of the program begin.
const V6: usize = 10;
const TRANSPORT: usize = 12;
const ICMP: usize = 16;
const ICMP_V6: usize = 19;
const ECHO: usize = 22;
const PORTS: usize = 24;
const ACCEPT: usize = 26;
const REJECT: usize = 27;

fn instructions() -> Vec<Instruction> {
    let mut program = Vec::new();
    let plain = |code, value| Instruction { code, yes: 0, no: 0, value };
    let first_port = u32::from(FIRST_PORT);
    program.push(plain(code::LOAD_BYTE, PACKET_TYPE));
    jump(&mut program, code::JUMP_EQUAL, FOR_US, None, Some(REJECT));
    program.push(plain(code::LOAD_HALF, 12));
    jump(&mut program, code::JUMP_EQUAL, 0x86dd, Some(V6), None);
    jump(&mut program, code::JUMP_EQUAL, 0x0800, None, Some(REJECT));
    program.push(plain(code::LOAD_HALF, ETHERNET + 6));
    // More fragments, or not the first.
    jump(&mut program, code::JUMP_ANY_BIT, 0x3fff, Some(REJECT), None);
    program.push(plain(code::INDEX_IPV4_HEADER, ETHERNET));
    program.push(plain(code::LOAD_BYTE, ETHERNET + 9));
    program.push(plain(code::JUMP, (TRANSPORT - V6) as u32));
    // V6:
    program.push(plain(code::INDEX, 40));
    program.push(plain(code::LOAD_BYTE, ETHERNET + 6));
    // TRANSPORT: the protocol is loaded, and X is the length of the IP header.
    jump(&mut program, code::JUMP_EQUAL, 6, Some(PORTS), None);
    jump(&mut program, code::JUMP_EQUAL, 17, Some(PORTS), None);
    jump(&mut program, code::JUMP_EQUAL, 1, Some(ICMP), None);
    jump(&mut program, code::JUMP_EQUAL, 58, Some(ICMP_V6), Some(REJECT));
    // ICMP: an echo reply, or something is unreachable (RFC 792).
    program.push(plain(code::LOAD_BYTE_INDIRECT, ETHERNET));
    jump(&mut program, code::JUMP_EQUAL, 0, Some(ECHO), None);
    jump(&mut program, code::JUMP_EQUAL, 3, Some(ACCEPT), Some(REJECT));
    // ICMP_V6: the same (RFC 4443).
    program.push(plain(code::LOAD_BYTE_INDIRECT, ETHERNET));
    jump(&mut program, code::JUMP_EQUAL, 129, Some(ECHO), None);
    jump(&mut program, code::JUMP_EQUAL, 1, Some(ACCEPT), Some(REJECT));
    // ECHO: by its identifier.
    program.push(plain(code::LOAD_HALF_INDIRECT, ETHERNET + 4));
    jump(&mut program, code::JUMP_AT_LEAST, first_port, Some(ACCEPT), Some(REJECT));
    // PORTS: by the destination's.
    program.push(plain(code::LOAD_HALF_INDIRECT, ETHERNET + 2));
    jump(&mut program, code::JUMP_AT_LEAST, first_port, Some(ACCEPT), Some(REJECT));
    // ACCEPT:
    program.push(plain(code::RETURN, ALL));
    // REJECT:
    program.push(plain(code::RETURN, 0));
    program
}

/// Adds a comparison that goes to instructions of these numbers; `None` is the next.
fn jump(program: &mut Vec<Instruction>, code: u16, value: u32, yes: Option<usize>, no: Option<usize>) {
    let next = program.len() + 1;
    let skip = |target: Option<usize>| target.map_or(0, |target| (target - next) as u8);
    program.push(Instruction { code, yes: skip(yes), no: skip(no), value });
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the kernel makes of the filter: whether it copies a frame.
    pub(in super::super) fn accepts(frame: &[u8]) -> bool {
        let program = instructions();
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0);
        let byte = |at: u32| frame.get(at as usize).copied().map(u32::from);
        let half = |at: u32| Some(byte(at)? << 8 | byte(at + 1)?);
        loop {
            let Instruction { code, yes, no, value } = program[at];
            let loaded = match code {
                code::LOAD_BYTE if value == PACKET_TYPE => Some(FOR_US),
                code::LOAD_BYTE => byte(value),
                code::LOAD_HALF => half(value),
                code::LOAD_BYTE_INDIRECT => byte(x + value),
                code::LOAD_HALF_INDIRECT => half(x + value),
                _ => Some(a),
            };
            // A load beyond the end rejects the frame.
            let Some(loaded) = loaded else { return false };
            a = loaded;
            at += 1;
            let holds = match code {
                code::JUMP_EQUAL => a == value,
                code::JUMP_AT_LEAST => a >= value,
                code::JUMP_ANY_BIT => a & value != 0,
                code::JUMP => {
                    at += value as usize;
                    continue;
                }
                code::RETURN => return value != 0,
                code::INDEX => {
                    x = value;
                    continue;
                }
                code::INDEX_IPV4_HEADER => {
                    let Some(first) = byte(value) else { return false };
                    x = (first & 0xf) * 4;
                    continue;
                }
                _ => continue,
            };
            at += usize::from(if holds { yes } else { no });
        }
    }

    #[test]
    fn every_part_begins_where_its_name_says() {
        let program = instructions();
        assert_eq!(program.len(), REJECT + 1);
        assert_eq!((program[ACCEPT].code, program[ACCEPT].value), (code::RETURN, ALL));
        assert_eq!((program[V6].code, program[TRANSPORT].value), (code::INDEX, 6));
        assert_eq!(
            (program[ICMP].code, program[ICMP_V6].code),
            (code::LOAD_BYTE_INDIRECT, code::LOAD_BYTE_INDIRECT)
        );
        assert_eq!((program[ECHO].value, program[PORTS].value), (ETHERNET + 4, ETHERNET + 2));
    }
}
