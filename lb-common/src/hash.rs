//! Hashes: the data plane's own, and IPVS's.

use crate::connection::Extent;

/// The secret of the connection table's hash, drawn when the table is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSeed {
    /// Mixed into the first word of the key.
    pub first: u64,
    /// Mixed into the words after it.
    pub second: u64,
}

/// Where a flow may lie in the connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(u64);

// Two odd constants with well spread bits (the fractional parts of the golden ratio and of √3, as in
// splitmix and xxhash).
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const MULTIPLIER_2: u64 = 0xBB67_AE85_84CA_A73B;

impl FlowHash {
    /// Hashes the words of a connection's key.
    #[inline(always)]
    #[must_use]
    pub const fn new<const K: usize>(key: &[u64; K], seed: FlowSeed) -> Self {
        let mut hash = (key[0] ^ seed.first).wrapping_mul(MULTIPLIER);
        let mut i = 1;
        while i < K {
            hash ^= hash >> 32;
            hash = (hash ^ key[i] ^ seed.second).wrapping_mul(MULTIPLIER_2);
            i += 1;
        }
        Self(hash)
    }

    /// The flow's own bucket in a part of `len` buckets. No modulo: multiply and shift.
    #[inline(always)]
    #[must_use]
    pub const fn home(self, len: u32, extent: Extent) -> u32 {
        scaled(self.0, len) >> extent.shift()
    }

    /// The buckets that take the flow when its own, `home`, is full: two others, `len` being at least 3. Those outside of
    /// the part that is in use, for where one bucket of that is full, the others may be.
    #[inline(always)]
    #[must_use]
    pub const fn elsewhere(self, home: u32, len: u32, extent: Extent) -> [u32; 2] {
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(MULTIPLIER);
        // As many as may take it, from the one after its own, or after the part unless that leaves too few.
        let part = extent.buckets(len);
        let (from, others) = if len - part < 2 { (home + 1, len - 1) } else { (part, len - part) };
        let first = scaled(mixed, others);
        let second = wrapped(first + 1 + scaled(mixed << 32, others - 1), others);
        [wrapped(from + first, len), wrapped(from + second, len)]
    }

    /// Bits that have no part in either bucket's number, to decide between equals by.
    #[inline(always)]
    #[must_use]
    pub const fn salt(self) -> u32 {
        self.0 as u32
    }
}

/// The upper half of `hash`, taken as a fraction of one, times `len`.
#[inline(always)]
const fn scaled(hash: u64, len: u32) -> u32 {
    (((hash >> 32) * len as u64) >> 32) as u32
}

/// `index` modulo `len`, being less than twice as much.
#[inline(always)]
const fn wrapped(index: u32, len: u32) -> u32 {
    if index < len { index } else { index - len }
}

/// The kernel's `hash_32` (`include/linux/hash.h`): the top `bits` bits of a multiplication by the golden ratio.
#[inline(always)]
#[must_use]
pub const fn hash_32(value: u32, bits: u32) -> u32 {
    value.wrapping_mul(0x61C8_8647) >> (32 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Extents;

    const SEED: FlowSeed = FlowSeed { first: 0x0123_4567_89AB_CDEF, second: 0xFEDC_BA98_7654_3210 };

    #[test]
    fn the_three_buckets_of_a_flow_are_three() {
        let whole = [3, 4, 1000, 327_680].map(|len| (len, 0));
        for (len, shift) in
            whole.into_iter().chain([(3, 1), (3, 2), (4, 1), (5, 1), (40, 5), (327_680, 1), (327_680, 4)])
        {
            let extent = Extents::from_word(shift).now;
            for i in 0..10_000u64 {
                let hash = FlowHash::new(&[i, i << 7], SEED);
                let home = hash.home(len, extent);
                let [second, third] = hash.elsewhere(home, len, extent);
                assert!(home < extent.buckets(len) && second < len && third < len);
                assert!(home != second && home != third && second != third);
            }
        }
    }

    #[test]
    fn hash_32_gives_the_buckets_the_kernel_gives() {
        // The vectors of sh for clients 192.168.1.1, 192.168.1.2 and 203.0.113.7, without and with port 40000.
        let bucket = |address: [u8; 4], port: u32| hash_32(port + u32::from_be_bytes(address), 8);
        assert_eq!([bucket([192, 168, 1, 1], 0), bucket([192, 168, 1, 1], 40_000)], [136, 44]);
        assert_eq!([bucket([192, 168, 1, 2], 0), bucket([192, 168, 1, 2], 40_000)], [234, 142]);
        assert_eq!([bucket([203, 0, 113, 7], 0), bucket([203, 0, 113, 7], 40_000)], [124, 32]);
    }
}
