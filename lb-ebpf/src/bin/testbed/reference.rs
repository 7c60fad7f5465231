//! What we compare against: services in a hash map, connections in an LRU hash map, the time from
//! `ktime_get_ns`; parse and rewrite are the same as ours.

use core::mem::offset_of;

use aya_ebpf::bindings::{BPF_ANY, xdp_action};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr};

const SERVICES: u32 = 16_384;
const CONNECTIONS: u32 = 1 << 20;
const REAL_SERVERS: u32 = 1024;

/// An address: VIP, port and protocol as they lie in the frame.
#[repr(C)]
#[derive(Clone, Copy)]
struct Address {
    vip: u32,
    port: u16,
    protocol: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Flow {
    source: u32,
    destination: u32,
    ports: u32,
    protocol: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Connection {
    real_server: u32,
    packets: u32,
    seen: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RealServer {
    /// Both MACs of the rewritten header.
    macs: [u8; 12],
    unused: [u8; 4],
}

#[map]
static REFERENCE_SERVICES: HashMap<Address, u32> = HashMap::with_max_entries(SERVICES, 0);
#[map]
static REFERENCE_CONNECTIONS: LruHashMap<Flow, Connection> = LruHashMap::with_max_entries(CONNECTIONS, 0);
#[map]
static REFERENCE_REAL_SERVERS: Array<RealServer> = Array::with_max_entries(REAL_SERVERS, 0);
#[map]
static REFERENCE_STATS: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(REAL_SERVERS, 0);

const IP: usize = EthHdr::LEN;
const TRANSPORT: usize = IP + Ipv4Hdr::LEN;

#[inline(always)]
pub(crate) fn balance(context: &XdpContext) -> u32 {
    forward(context).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn forward(context: &XdpContext) -> Option<u32> {
    let start = context.data();
    if start + TRANSPORT + 8 > context.data_end() {
        return None;
    }
    // SAFETY: the verifier has just seen that the bytes lie in the frame.
    let (ether_type, vihl, frags, protocol, source, destination, ports) = unsafe {
        (
            read::<u16>(start + offset_of!(EthHdr, ether_type)),
            read::<u8>(start + IP + offset_of!(Ipv4Hdr, vihl)),
            read::<u16>(start + IP + offset_of!(Ipv4Hdr, frags)),
            read::<u8>(start + IP + offset_of!(Ipv4Hdr, proto)),
            read::<u32>(start + IP + offset_of!(Ipv4Hdr, src_addr)),
            read::<u32>(start + IP + offset_of!(Ipv4Hdr, dst_addr)),
            read::<u32>(start + TRANSPORT),
        )
    };
    let is_transport = protocol == IpProto::Tcp as u8 || protocol == IpProto::Udp as u8;
    if ether_type != EtherType::Ipv4 as u16
        || vihl != 0x45
        || frags & 0x3fff_u16.to_be() != 0
        || !is_transport
    {
        return None;
    }
    let address = Address { vip: destination, port: (ports >> 16) as u16, protocol: u16::from(protocol) };
    // SAFETY: values of these maps are plain numbers.
    let real_servers = unsafe { *REFERENCE_SERVICES.get(address)? };
    let flow = Flow { source, destination, ports, protocol: u32::from(protocol) };
    // SAFETY: the helper takes nothing and reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    let number = if let Some(connection) = REFERENCE_CONNECTIONS.get_ptr_mut(flow) {
        // SAFETY: a value of the map, as the verifier knows.
        unsafe {
            (*connection).seen = now;
            (*connection).packets += 1;
            (*connection).real_server
        }
    } else {
        let real_server = source.wrapping_mul(0x61C8_8647) % real_servers.max(1);
        let connection = Connection { real_server, packets: 1, seen: now };
        // A full map evicts; the frame goes out in any case.
        let _ = REFERENCE_CONNECTIONS.insert(flow, connection, u64::from(BPF_ANY));
        real_server
    };
    let real_server = REFERENCE_REAL_SERVERS.get(number)?;
    // SAFETY: as above.
    unsafe { (start as *mut [u8; 12]).write_unaligned(real_server.macs) };
    let stats = REFERENCE_STATS.get_ptr_mut(number)?;
    // SAFETY: this CPU's own element.
    unsafe {
        (*stats)[0] += 1;
        (*stats)[1] += (context.data_end() - start) as u64;
    }
    Some(xdp_action::XDP_TX)
}

/// # Safety
/// `address` must lie in the frame.
#[inline(always)]
unsafe fn read<T: Copy>(address: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { (address as *const T).read_unaligned() }
}
