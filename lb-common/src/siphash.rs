//! The kernel's hash for hash tables of 64-bit machines, `hsiphash` (`include/linux/siphash.h`, `lib/siphash.c`):
//! SipHash-1-3, cut to 32 bits.

/// `hsiphash` of the four bytes of `value`, both words of the key being `key`.
///
/// One round for the only word of the message, which holds its length above and `value` below, and three to finish.
#[inline(always)]
#[must_use]
pub const fn hsiphash_u32(value: u32, key: u64) -> u32 {
    // `HPREAMBLE(4)`.
    const LENGTH: u64 = 4 << 56;
    let message = LENGTH | value as u64;
    let mut state = State {
        v0: 0x736f_6d65_7073_6575 ^ key,
        v1: 0x646f_7261_6e64_6f6d ^ key,
        v2: 0x6c79_6765_6e65_7261 ^ key,
        v3: 0x7465_6462_7974_6573 ^ key ^ message,
    };
    state = state.round();
    state.v0 ^= message;
    state.v2 ^= 0xff;
    state = state.round().round().round();
    (state.v0 ^ state.v1 ^ state.v2 ^ state.v3) as u32
}

#[derive(Clone, Copy)]
struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    /// `SIPHASH_PERMUTATION`.
    #[inline(always)]
    const fn round(self) -> Self {
        let Self { mut v0, mut v1, mut v2, mut v3 } = self;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        Self { v0, v1, v2, v3 }
    }
}

#[cfg(test)]
mod tests {
    use super::hsiphash_u32;

    /// Worked out by an implementation of the paper that gives the paper's own vector for SipHash-2-4.
    #[test]
    fn it_is_siphash_1_3_of_four_bytes() {
        let vectors = [
            (0, 0, 0x9ac4_8af0),
            (1, 2_654_435_761, 0x16ec_66b2),
            (0x0a00_0051, 2_654_446_892, 0x97b3_dc47),
            (u32::MAX, u64::MAX, 0xc265_c78b),
        ];
        for (value, key, hash) in vectors {
            assert_eq!(hsiphash_u32(value, key), hash, "{value} with {key}");
        }
    }
}
