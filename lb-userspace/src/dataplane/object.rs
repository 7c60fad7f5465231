//! The eBPF object, as bytes in this binary, so that a user installs one file.

/// `lb-ebpf`, built for the BPF target by `cargo xtask build-ebpf`, put here by this crate's build script when it
/// has seen that the programs are in it, and aligned as an ELF parser wants it.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf"));

#[cfg(test)]
mod tests {
    use super::OBJECT;

    #[test]
    fn the_object_is_embedded_and_aligned() {
        assert!(OBJECT.starts_with(b"\x7fELF"));
        assert_eq!(OBJECT.as_ptr().addr() % align_of::<u64>(), 0);
    }
}
