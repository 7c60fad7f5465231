//! One 64-bit word that the kernel and userspace change at the same time.
//!
//! In the kernel a [`Word`] is a plain word changed by BPF's `cmpxchg_64` and `atomic_fetch_add`; on the host
//! it is an `AtomicU64`, under `--cfg loom` loom's. Its operations have the same meaning everywhere: loads
//! acquire, stores release, a successful exchange does both.
//!
//! A BPF load is an ordinary load instruction. On x86-64 every load acquires, so the meaning holds. Weakly
//! ordered CPUs need BPF's acquire loads (kernel 6.15), which no released `core` can emit yet: other
//! architectures are not supported.

#[cfg(loom)]
type Inner = loom::sync::atomic::AtomicU64;
#[cfg(all(not(loom), not(target_arch = "bpf")))]
type Inner = core::sync::atomic::AtomicU64;
#[cfg(target_arch = "bpf")]
type Inner = core::cell::UnsafeCell<u64>;

/// A word in memory that several CPUs, and userspace through a mapping, read and write at once.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Word(Inner);

#[cfg(not(target_arch = "bpf"))]
impl Word {
    /// A word that holds `value`.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(Inner::new(value))
    }

    /// A word that holds `value`.
    #[cfg(loom)]
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self(Inner::new(value))
    }

    /// Reads the word; what its writer did before is visible afterwards.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        self.0.load(ordering::Acquire)
    }

    /// Writes the word; what was done before is visible to who reads it.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        self.0.store(value, ordering::Release);
    }

    /// Writes `new` if the word still holds `current`; says whether it did.
    #[inline(always)]
    pub fn compare_exchange(&self, current: u64, new: u64) -> bool {
        self.0.compare_exchange(current, new, ordering::AcqRel, ordering::Acquire).is_ok()
    }

    /// Adds `value`, wrapping; returns what the word held before.
    #[inline(always)]
    pub fn fetch_add(&self, value: u64) -> u64 {
        self.0.fetch_add(value, ordering::AcqRel)
    }
}

#[cfg(all(not(loom), not(target_arch = "bpf")))]
use core::sync::atomic::{Ordering as ordering, fence};
#[cfg(loom)]
use loom::sync::atomic::{Ordering as ordering, fence};

/// Orders everything before against everything after, as a successful exchange does by itself on x86-64.
#[inline(always)]
pub(crate) fn full_fence() {
    // In BPF the exchange is enough: every CPU's JIT compiles it to a full barrier
    // (Documentation/bpf/standardization/instruction-set.rst, "Atomic operations").
    #[cfg(not(target_arch = "bpf"))]
    fence(ordering::SeqCst);
}

/// A number in a map that userspace sets now and then, by itself, and the data plane only reads. It takes part
/// in no protocol.
#[cfg(not(target_arch = "bpf"))]
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Setting(core::sync::atomic::AtomicU32);

#[cfg(not(target_arch = "bpf"))]
impl Setting {
    /// A setting of `value`.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(core::sync::atomic::AtomicU32::new(value))
    }

    /// Reads it.
    #[inline(always)]
    pub fn get(&self) -> u32 {
        self.0.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Sets it.
    pub fn set(&self, value: u32) {
        self.0.store(value, core::sync::atomic::Ordering::Relaxed);
    }
}

/// A number in a map that userspace sets now and then, by itself, and the data plane only reads. It takes part
/// in no protocol.
#[cfg(target_arch = "bpf")]
#[repr(transparent)]
pub struct Setting(core::cell::UnsafeCell<u32>);

#[cfg(target_arch = "bpf")]
// SAFETY: only read here.
unsafe impl Sync for Setting {}

#[cfg(target_arch = "bpf")]
impl Setting {
    /// Reads it.
    #[inline(always)]
    pub fn get(&self) -> u32 {
        // SAFETY: the pointer comes from a reference, and an aligned load is not torn.
        unsafe { core::ptr::read_volatile(self.0.get()) }
    }
}

#[cfg(target_arch = "bpf")]
// SAFETY: a BPF program reaches words through map values only, and changes them with the atomic
// instructions below or with whole aligned 64-bit stores.
unsafe impl Sync for Word {}

#[cfg(target_arch = "bpf")]
impl Word {
    /// Reads the word; what its writer did before is visible afterwards.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        // SAFETY: the pointer comes from a reference; volatile keeps the compiler from merging two reads.
        unsafe { core::ptr::read_volatile(self.0.get()) }
    }

    /// Writes the word; what was done before is visible to who reads it.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        // SAFETY: the pointer comes from a reference, and an aligned 64-bit store is not torn.
        unsafe { core::ptr::write_volatile(self.0.get(), value) }
    }

    /// Writes `new` if the word still holds `current`; says whether it did.
    #[inline(always)]
    pub fn compare_exchange(&self, current: u64, new: u64) -> bool {
        use core::intrinsics::{AtomicOrdering, atomic_cxchg};
        // SAFETY: the pointer comes from a reference to an aligned word.
        let (_, exchanged) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                self.0.get(),
                current,
                new,
            )
        };
        exchanged
    }

    /// Adds `value`, wrapping; returns what the word held before.
    #[inline(always)]
    pub fn fetch_add(&self, value: u64) -> u64 {
        use core::intrinsics::{AtomicOrdering, atomic_xadd};
        // SAFETY: the pointer comes from a reference to an aligned word.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(self.0.get(), value) }
    }
}
